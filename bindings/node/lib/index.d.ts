// The types of the package, as `import` and `require` give them: a file of types/ for each idea.

/** The library's version, such as "0.1.0". */
export const version: string;
/** What the loaded library offers; see boxlite_abi_version() in boxlite.h. */
export const abiVersion: number;

export * from './types/runtime.js';
export * from './types/box.js';
export * from './types/exec.js';
export * from './types/child.js';
export * from './types/files.js';
export * from './types/images.js';
export * from './types/metrics.js';
export * from './types/calls.js';
export * from './types/errors.js';
