/** Shows the blocks that a running segmentation has finished, until they are among the labels. */

const LAYER = "found so far";

/** @param {import("./bridge.js").Bridge} bridge @param {string} prefix where the server lives on this origin */
export function makeFound(bridge, prefix) {
  let shown = "";
  return {
    /** @param {import("./types.js").Job} job */
    show({ job_id, result }) {
      const blocks = result && "blocks" in result ? result.blocks : 0;
      const address = `${location.origin}${prefix}/found/${job_id}/${blocks}`;
      if (blocks === 0 || address === shown) return;
      shown = address;
      bridge.setLayer({
        name: LAYER,
        type: "segmentation",
        source: `precomputed://${address}`,
        selectedAlpha: 0.35,
        notSelectedAlpha: 0.35,
        pick: false,
      });
    },
    hide() {
      if (shown !== "") bridge.removeLayer(LAYER);
      shown = "";
    },
  };
}
