// What all calls have in common, and what their words may be.

/** Passed on byte by byte: a string as UTF-8, or any bytes but NUL. */
export type Bytes = string | Uint8Array;
/** Names as in os.constants.signals, or a number. */
export type Signal = NodeJS.Signals | number;
export type Engine = 'auto' | 'krun' | 'qemu';

/** Of every call. */
export interface CallOptions {
    /** Ends the call, which then rejects with an AbortError. */
    signal?: AbortSignal;
    /** How many milliseconds the call may take: then it rejects with BOXLITE_TIMEOUT. */
    deadline?: number;
}

/** Of calls that may have to pull an image or start a box. */
export interface StartOptions extends CallOptions {
    onProgress?: (progress: Progress) => void;
}

export interface Progress {
    /** "prepare", "resolve", "pull", "image-disk", "boot", "done", or others. */
    stage: string;
    reference: string;
    layers: { digest: string; doneBytes: number; totalBytes: number }[];
}
