/**
 * The shapes that cross a border: JSON of the server, and the few members of the viewer that
 * bridge.js relies on. Arrays are z, y, x; ids are decimal strings (uint64 does not fit a number).
 */

export type Id = string;
export type Zyx = [number, number, number];
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
export type ViewState = { [key: string]: Json };

export interface Roi {
  offset: Zyx;
  shape: Zyx;
}

/** One line of the table that binds keys: `keys` for people, `events` as the viewer names them. */
export interface KeyBinding {
  action: string;
  keys: string[];
  events?: string[];
  help: string;
}

export interface ModelInfo {
  name: string;
  description: string;
  voxel_size_nm: number | null;
  /** What it finds. */
  classes: string[];
  /** Those of a segmentation that it does better with than with the usual ones. */
  parameters: { [name: string]: number | boolean };
  is_default: boolean;
  is_research_only: boolean;
}

/** A parameter of inference, as the server describes it; a switch has no range. */
export interface ParameterDescription {
  name: string;
  default: number | boolean;
  kind: "number" | "integer" | "switch";
  low: number | null;
  high: number | null;
  step: number | null;
  help: string;
}

/** What a page is looking at; the same object is in the page (`boot`) and in session answers. */
export interface Session {
  id: string;
  volume: string;
  pinned_version: number | null;
  version: number;
  read_only: boolean;
  share_id: string | null;
  user: string;
  image_layer: string;
  label_layer: string;
  voxel_size: Zyx;
  bounds: Roi;
  /** Whether the labels stand on published ones, which are counted where somebody points. */
  has_base: boolean;
  models: ModelInfo[];
  parameters: ParameterDescription[];
  limits: { max_voxels: number; voxel_size_nm: [number, number] };
  voxel_size_is_assumed?: boolean;
  /** Where in the catalogue it comes from; null for a volume of one's own. */
  published: Published | null;
}

/** What the catalogue said of a volume when it was opened. */
export interface Published {
  dataset: string;
  title: string | null;
  licence: string | null;
  terms: string | null;
  /** Without "https://doi.org/". */
  doi: string[];
  /** What is not as the catalogue says, in sentences. */
  notes: string[];
}

export interface Boot extends Session {
  keymap: KeyBinding[];
  app_version?: string;
}

export interface Operation {
  operation_id: number;
  kind: string;
  user: string;
  time: string;
  bbox: Roi | null;
  removed_roots: Id[];
  added_roots: Id[];
  merges: Id[][];
  splits: { root: Id; into: Id[] }[];
  wrote_voxels: boolean;
  undoes: number | null;
  undone_by: number | null;
  provenance: { [key: string]: Json };
  request_id: string | null;
}

/** What happened since a version; `reset`: too much to tell, read everything again. */
export interface News {
  version: number;
  operations: Operation[];
  reset: boolean;
}

/** An object of the list; how sure the network is of it is null where no network made it. */
export interface ObjectRow {
  id: Id;
  bbox: Roi;
  voxels: number;
  volume_nm3: number;
  centroid: Zyx;
  probability: number | null;
  agreement: number | null;
  /** What the run that made it looked for; null where none did. */
  class: string | null;
}

export interface EditAnswer {
  operation_id: number;
  version: number;
  operation: Operation;
}

export type SegmentMode = "slice" | "box" | "orthoplane";

/** One thing a user may set for a segmentation: the server's parameters and three of the page. */
export interface Setting {
  name: string;
  label: string;
  help: string;
  kind: "number" | "integer" | "switch" | "choice";
  default: SettingValue;
  low: number | null;
  high: number | null;
  step: number | null;
  unit: string;
  options: [value: string, label: string][];
}

/** null: not set, such as a voxel size that is the model's own. */
export type SettingValue = number | boolean | string | null;
export type SettingValues = { [name: string]: SettingValue };

export interface GreyRange {
  /** Shown black; above `high` where the image is shown inverted. */
  low: number;
  high: number;
}

/** What the form of parameters adds to a request. */
export interface SegmentOptions {
  parameters: { [name: string]: SettingValue };
  existing: SettingValue;
  voxel_size_nm?: number;
  grey_range?: GreyRange;
  engine?: string;
  preset?: string;
  class?: string;
  maps?: boolean;
  stacks?: boolean;
}

/** What was drawn: corners of a polygon lie on one section, in voxels. */
export type Within = { box: Roi } | { polygon: Zyx[] };

/** What a request says of the region besides the view. */
export interface Where {
  within?: Within;
  sections?: string;
}

export interface SegmentRequest extends SegmentOptions, Where {
  view: View;
  mode: SegmentMode;
  model: string;
  centre?: Zyx;
  dry_run?: boolean;
  /** Without it: somebody asked for it. */
  purpose?: "follow" | "warm";
}

export interface Region {
  roi: Roi;
  plane: string;
  /** How many sections are each for themselves; null: not listed. */
  sections: number | null;
  level: number;
  voxel_size: Zyx;
  voxels: number;
  limit: number;
  fits: boolean;
  message: string;
}

export interface Change {
  added: number;
  removed: number;
  trimmed: number;
  joined: number;
  kept: number;
}

export interface Job {
  job_id: string;
  volume: string;
  state: "queued" | "running" | "done" | "failed" | "cancelled" | "interrupted";
  progress: number;
  message: string;
  operation_id: number | null;
  error: { kind: string; message: string } | null;
  /** What a dry run found: objects by what would become of them. */
  /** How many blocks can be looked at, while it runs, and as maps (ever after), and how many stacks. Of a rehearsal: what would change. */
  result: { blocks: number; maps: number; stacks: number } | Change | null;
  user: string;
  kind: string;
}

export interface SplitPreview {
  id: string;
  url: string;
  roi: Roi;
  root: Id;
  version: number;
  voxels: number[];
  /** Whether the parts were measured voxel by voxel. */
  exact: boolean;
}

export interface Share {
  share_id: string;
  url: string;
}

/** One cross-section on screen: global level-0 voxels, `right` and `down` per CSS pixel. */
export interface Panel {
  centre: Zyx;
  right: Zyx;
  down: Zyx;
  width: number;
  height: number;
}

export interface View {
  panels: Panel[];
  active: number;
}

/** What every panel of the page is drawn from: the last answers of the server. */
export interface State {
  session: Session;
  head: number;
  operations: Operation[];
  picks: Id[];
  online: boolean;
}

export interface Store {
  readonly state: State;
  set(change: Partial<State>): void;
  subscribe(listener: (state: State) => void): void;
}

export interface NotifyOptions {
  error?: boolean;
  key?: string;
  /** Stays, as errors do, until it is closed or this is aborted. */
  until?: AbortSignal | null;
  /** A button in it. */
  action?: { label: string; onClick: () => void } | null;
}

export type Notify = (text: string, options?: NotifyOptions) => void;

export interface Context {
  api: import("./api.js").Api;
  bridge: import("./bridge.js").Bridge;
  live: import("./live.js").Live;
  store: Store;
  notify: Notify;
  keymap: KeyBinding[];
  edits: ReturnType<typeof import("./edits.js").makeEdits>;
}

export type Actions = { [name: string]: () => void | Promise<void> };

/** One part of the page. `actions` are what keys may call; `render` draws from the state. */
export interface PanelPart {
  actions: Actions;
  /** Whether an action is for this part alone just now. */
  claims?(action: string): boolean;
  render(state: State): void;
}

// ---- the viewer's insides, only for bridge.js ------------------------------------------------

export interface NgSignal {
  add(callback: () => void): () => void;
  count: number;
}

export interface NgSet {
  changed: NgSignal;
  size: number;
  has(id: bigint): boolean;
  add(id: bigint): void;
  delete(id: bigint): void;
  clear(): void;
  [Symbol.iterator](): Iterator<bigint>;
}

export interface NgEquivalences {
  link(a: bigint, b: bigint): boolean;
  get(id: bigint): bigint;
  deleteSet(id: bigint): void;
  setElements(id: bigint): Iterable<bigint>;
}

export interface NgSegmentation {
  displayState: {
    segmentationGroupState: {
      value: {
        visibleSegments: NgSet;
        selectedSegments: NgSet;
        segmentEquivalences: NgEquivalences;
      };
    };
    segmentationColorGroupState: {
      value: { segmentColorHash: { computeCssColor(id: bigint): string; changed: NgSignal } };
    };
  };
  getValueAt(
    position: Float32Array,
    pick: { pickedRenderLayer: null },
  ): bigint | number | { key: bigint; value: bigint | null } | null | undefined;
}

/** A control of an image layer's shader; those of kind `invlerp` have a range. */
/** The value of a control of black and white. */
export interface NgRange {
  range?: readonly [number | bigint, number | bigint];
}

export interface NgShaderControl {
  trackable: { value: NgRange | boolean | number };
}

export interface NgImage {
  shaderControlState: { state: Map<string, NgShaderControl> };
  /** The first is the layer's place in the viewer's side panel. */
  panels: { panels: { selectedTab: { value?: string } }[] };
}

export interface NgManagedLayer {
  name: string;
  layer: unknown;
}

export interface NgLayerManager {
  managedLayers: NgManagedLayer[];
  layersChanged: NgSignal;
  getLayerByName(name: string): NgManagedLayer | undefined;
  removeManagedLayer(layer: NgManagedLayer): void;
  clear(): void;
}

export interface NgChunk {
  state: number;
  /** null: there is nothing in it. */
  data?: unknown;
  freeGPUMemory(gl: WebGL2RenderingContext): void;
}

export interface NgChunkSource {
  chunks: Map<string, NgChunk>;
  gl: WebGL2RenderingContext;
  parameters?: { url?: string };
  spec?: { upperVoxelBound?: ArrayLike<number> };
  deleteChunk(key: string): void;
  addChunk(key: string, chunk: NgChunk): void;
  invalidateCache(): void;
}

export interface NgTransformedSource {
  source: NgChunkSource;
  chunkLayout: unknown;
}

export interface NgSliceView {
  projectionParameters: {
    value: {
      invViewMatrix: ArrayLike<number>;
      logicalWidth: number;
      logicalHeight: number;
      displayDimensionRenderInfo: {
        displayDimensionIndices: ArrayLike<number>;
        globalDimensionNames?: readonly string[];
      };
    };
  };
  viewChanged: NgSignal;
  visibleLayers: Map<unknown, { visibleSources: NgTransformedSource[] }>;
  forEachVisibleChunk(
    source: NgTransformedSource,
    layout: unknown,
    callback: (key: string) => void,
  ): void;
}

/** What a layer draws into cross-sections with. */
export interface NgRenderLayer {
  draw(context: { sliceView: NgSliceView }): void;
  visibleSourcesList?: unknown;
  redrawNeeded: { dispatch(): void };
  displayState?: { hideSegmentZero: { value: boolean } };
}

export interface NgPanel {
  element: HTMLElement;
  sliceView?: NgSliceView;
  sliceViews?: Iterable<[NgSliceView, unknown]>;
}

export interface NgViewer {
  element: HTMLElement;
  state: { toJSON(): unknown; restoreState(value: unknown): void; changed: NgSignal };
  coordinateSpace: { value: { names: readonly string[] } };
  selectedLayer: { toggle(layer: NgManagedLayer): void };
  position: { value: ArrayLike<number>; changed: NgSignal };
  navigationState: { changed: NgSignal };
  mouseState: {
    active: boolean;
    position: ArrayLike<number>;
    updateUnconditionally(): boolean;
    setActive(active: boolean): void;
  };
  layerManager: NgLayerManager;
  layerSpecification: { restoreState(layers: unknown[]): void };
  chunkManager: { memoize: { map: Map<string, unknown> } };
  display: {
    panels: Set<NgPanel>;
    draw(): void;
    scheduleRedraw(): void;
    updateStarted: NgSignal;
    updateFinished: NgSignal;
  };
  isReady(): boolean;
}

declare global {
  interface Window {
    viewer?: NgViewer;
  }
}
