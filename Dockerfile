# Two stages: the first installs, the second only runs. No compiler, no root, no secrets inside.
FROM python:3.11-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python3 -m venv /opt/mitoglance
WORKDIR /src
# The dependencies first: they change less often than the code.
COPY pyproject.toml constraints.txt README.md LICENSE NOTICE ./
COPY app ./app
COPY segmentation_backend ./segmentation_backend
COPY static ./static
RUN /opt/mitoglance/bin/pip install -c constraints.txt '.[postgresql]'

FROM python:3.11-slim-bookworm
RUN useradd --uid 10001 --create-home mitoglance && install -d -o mitoglance -g mitoglance /data
COPY --from=build /opt/mitoglance /opt/mitoglance
COPY --from=build /src/LICENSE /src/NOTICE /usr/share/doc/mitoglance/
ENV PATH=/opt/mitoglance/bin:$PATH \
    MITOGLANCE_DATA_DIR=/data \
    MITOGLANCE_HOST=0.0.0.0 \
    MITOGLANCE_PORT=8080 \
    NUMBA_CACHE_DIR=/data/caches/numba \
    PYTHONUNBUFFERED=1
USER mitoglance
VOLUME /data
EXPOSE 8080
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
  CMD ["python3", "-c", "import os, http.client as h; c = h.HTTPConnection('localhost', int(os.environ['MITOGLANCE_PORT']), timeout=4); c.request('GET', '/healthz'); raise SystemExit(c.getresponse().status != 200)"]
ENTRYPOINT ["mitoglance"]
CMD ["serve", "--no-browser"]
