/** Shows the blocks that a running segmentation has finished, the network's maps of them, and its stacks. */

const LAYER = "found so far";

/**
 * Colours over EM that leave it readable: never grey in between, where they could not be told from
 * it. 0 is "not known" and stays clear; what was looked at and found empty has a breath of the
 * first colour, so that the two cannot be taken for each other.
 *
 * @param {string} least @param {string} middle @param {string} most RGB of 0, half and 1, as GLSL
 */
const shader = (least, middle, most) => `#uicontrol float strength slider(min=0, max=1, default=0.6)
void main() {
  float value = toNormalized(getDataValue());
  if (value == 0.0) {
    emitTransparent();
    return;
  }
  float share = (value * 255.0 - 1.0) / 254.0;
  vec3 low = mix(vec3(${least}), vec3(${middle}), 2.0 * share);
  vec3 high = mix(vec3(${middle}), vec3(${most}), 2.0 * share - 1.0);
  emitRGBA(vec4(share < 0.5 ? low : high, strength * mix(0.15, 1.0, share)));
}
`;

/** The maps there are; the second is there to be switched on. */
const MAPS = [
  { kind: "probability", name: "probability", shader: shader("0.15, 0.25, 0.65", "0.80, 0.28, 0.52", "1.00, 0.78, 0.30"), visible: true },
  { kind: "centres", name: "centres", shader: shader("0.15, 0.25, 0.65", "0.10, 0.62, 0.66", "0.80, 1.00, 0.60"), visible: false },
];

const STACKS = ["xy", "xz", "yz"];

/** @param {import("./bridge.js").Bridge} bridge @param {string} prefix where the server lives on this origin */
export function makeFound(bridge, prefix) {
  let shown = "";
  let mapped = "";

  /** @param {string} id of the job @param {import("./types.js").Job["result"]} result */
  function showMaps(id, result) {
    const count = result && "maps" in result ? result.maps : 0;
    const name = `${id}/${count}`;
    if (count === 0 || name === mapped) return;
    mapped = name;
    for (const { kind, ...layer } of MAPS) {
      // As the user left it, where it is there already.
      const before = bridge.layerState(layer.name);
      bridge.setLayer({
        ...(before ?? { ...layer, type: "image", opacity: 1 }),
        name: layer.name,
        source: `precomputed://${location.origin}${prefix}/maps/${id}/${kind}/${count}`,
      });
    }
  }

  /** @param {string} id of the job @param {import("./types.js").Job["result"]} result */
  function showStacks(id, result) {
    if (!result || !("stacks" in result) || result.stacks < STACKS.length) return;
    for (const plane of STACKS) {
      const name = `stack ${plane}`;
      bridge.setLayer({
        // Switched off, unless the user has it on: three more sets of colours hide the labels.
        visible: false,
        ...bridge.layerState(name),
        name,
        type: "segmentation",
        source: `precomputed://${location.origin}${prefix}/maps/${id}/stack-${plane}/${result.stacks}`,
        selectedAlpha: 0.35,
        notSelectedAlpha: 0.35,
        pick: false,
      });
    }
  }

  return {
    showMaps,
    showStacks,
    /** @param {import("./types.js").Job} job */
    show({ job_id, result }) {
      showMaps(job_id, result);
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
