// A command that runs to its end in one call.

import type { Bytes, StartOptions } from './calls.js';

export interface CommandOptions extends StartOptions {
    env?: Record<string, Bytes>;
    cwd?: Bytes;
    user?: string;
    /** Milliseconds from the command's start: then all of its processes are killed, and its result says timedOut. */
    timeout?: number;
    limits?: { pids?: number; memoryBytes?: number; openFiles?: number; cpuMillis?: number };
    /** Standard error goes into standard output. */
    mergeStderr?: boolean;
}

export interface ExecOptions extends CommandOptions {
    /** Standard input; default none. */
    input?: Bytes;
    /** How many bytes of each stream are kept; default 64 MiB. */
    maxOutput?: number;
    /** How many milliseconds to wait for the output of processes left in the background; default 200. */
    drain?: number;
    /** 'buffer', or how bytes become strings; default 'utf8'. */
    encoding?: BufferEncoding | 'buffer';
    /** Whether a code other than 0 is an ExitError; default true. */
    reject?: boolean;
    stdout?: 'pipe' | 'ignore';
    stderr?: 'pipe' | 'ignore';
}

export interface ExitStatus {
    /** null when it died of a signal */
    exitCode: number | null;
    /** null when it exited */
    signal: string | null;
    timedOut: boolean;
    oomKilled: boolean;
}

export interface ExecResult<T = string> extends ExitStatus {
    stdout: T;
    stderr: T;
    /** How many bytes were written, kept or not. */
    stdoutTotal: number;
    stdoutTruncated: boolean;
    stderrTotal: number;
    stderrTruncated: boolean;
    /** Processes in the background may have written more. */
    outputStillOpen: boolean;
}
