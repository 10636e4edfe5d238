// What calls reject with.

import type { ExecResult } from './exec.js';

/** What a failed call rejects with. */
export class BoxliteError extends Error {
    /** The constant in boxlite.h, such as "BOXLITE_NOT_FOUND". An aborted call's is "BOXLITE_CANCELLED", its name "AbortError". */
    readonly code: string;
    /** What can be done about it. */
    readonly hint: string;
    /** The path, name, id or argument it is about. */
    readonly subject: string | null;
    /** The errno behind it. */
    readonly errno?: number;
    /** 127 or 126: the command that could not be started was not found, or is not executable. */
    readonly exitCode?: number;
    /** The output so far of an exec that was cut off. */
    readonly stdout?: string | Buffer;
    readonly stderr?: string | Buffer;
}

/** What exec() rejects with when the command ended otherwise than with code 0; see ExecOptions.reject. */
export class ExitError extends Error implements ExecResult<string | Buffer> {
    readonly exitCode: number | null;
    readonly signal: string | null;
    readonly timedOut: boolean;
    readonly oomKilled: boolean;
    readonly stdout: string | Buffer;
    readonly stderr: string | Buffer;
    readonly stdoutTotal: number;
    readonly stdoutTruncated: boolean;
    readonly stderrTotal: number;
    readonly stderrTruncated: boolean;
    readonly outputStillOpen: boolean;
}
