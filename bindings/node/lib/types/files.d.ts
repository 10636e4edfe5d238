// Files into a box and out of it.

import type { StartOptions } from './calls.js';

export interface CopyOptions extends StartOptions {
    /** Whether what exists is replaced; else the copy fails before anything is written. Default true. */
    overwrite?: boolean;
    /** Whether directories are copied, or refused; default true. */
    recursive?: boolean;
    /** Whether what symbolic links lead to is copied, or the links; default false. */
    followSymlinks?: boolean;
    /** Whether a directory keeps its name below an existing one, or only what it holds is copied; default true. */
    includeParent?: boolean;
}

export interface ReadFileOptions extends StartOptions {
    /** A longer file is refused with BOXLITE_RESOURCE_EXHAUSTED; default 64 MiB. */
    maxBytes?: number;
}

export interface WriteFileOptions extends StartOptions {
    /** Permission bits; default 0o644. */
    mode?: number;
}
