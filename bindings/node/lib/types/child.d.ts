// A command that is started, and talked to while it runs.

import type { EventEmitter } from 'node:events';
import type { Duplex, Readable, Writable } from 'node:stream';
import type { ReadableStream, WritableStream } from 'node:stream/web';
import type { CallOptions, Signal } from './calls.js';
import type { CommandOptions, ExitStatus } from './exec.js';

/** 'pipe': lossless, and blocks the process when it isn't read. 'retain': the newest MiB, for attach(). 'ignore': /dev/null. */
export type Output = 'pipe' | 'retain' | 'ignore';

export interface SpawnOptions extends CommandOptions {
    /** 'keep': losing the stream is no end of input; end() and closeStdin() are. Default 'pipe'. */
    stdin?: 'pipe' | 'keep' | 'ignore';
    stdout?: Output;
    stderr?: Output;
    /** A terminal instead of the three: child.stdin and child.stdout are then one stream. Default 24 rows, 80 columns. */
    tty?: boolean | { rows?: number; cols?: number };
}

/** Which streams to take; an offset says from which byte on, true from the oldest that is still there. */
export interface AttachOptions extends CallOptions {
    stdin?: boolean;
    stdout?: boolean | number;
    stderr?: boolean | number;
    tty?: boolean | number;
}

export interface StreamState {
    /** Offset of the first byte owed to what was taken through this Child. */
    first: number;
    /** Bytes that were written. */
    total: number;
    dropped: number;
    closed: boolean;
    /** Whether somebody else has taken the stream since. */
    takenOver: boolean;
}

export interface ExecutionInfo {
    id: string;
    args: string[];
    startedAt: Date;
    tty: boolean;
    /** What its input is, and what becomes of output that nobody has taken; a terminal's is stdout. */
    stdin: 'pipe' | 'keep' | 'ignore';
    stdout: Output;
    stderr: Output;
    /** Its standard error is written where its standard output is, as always with a terminal. */
    mergeStderr: boolean;
    /** Which of them somebody is connected to. */
    taken: { stdin: boolean; stdout: boolean; stderr: boolean };
    exit: ExitStatus | null;
}

/** A command that runs. Its streams end with an error when they were cut off. */
export class Child extends EventEmitter implements AsyncIterable<string>, AsyncDisposable {
    private constructor();
    /** By which attach() takes it up, from any process. */
    readonly id: string;
    readonly stdin: Writable | null;
    readonly stdout: Readable | null;
    readonly stderr: Readable | null;
    readonly tty: Duplex | null;
    /** null while it runs */
    readonly exitCode: number | null;
    readonly signalCode: string | null;
    readonly web: { stdin: WritableStream | null; stdout: ReadableStream | null; stderr: ReadableStream | null };
    /** How it ended, once it has and what is being read of its output is at its end. */
    wait(): Promise<ExitStatus>;
    /** To the command's process. */
    signal(signal: Signal, options?: CallOptions): Promise<void>;
    /** SIGKILL to all of the command's processes. */
    kill(options?: CallOptions): Promise<void>;
    resize(rows: number, cols: number, options?: CallOptions): Promise<void>;
    /** End of input once the process has been given so many bytes, by whomever. */
    closeStdin(totalBytes: number, options?: CallOptions): Promise<void>;
    streamState(which: 'stdout' | 'stderr', options?: CallOptions): Promise<StreamState>;
    lines(which?: 'stdout' | 'stderr'): AsyncGenerator<string, void, undefined>;
    /** The lines of stdout. */
    [Symbol.asyncIterator](): AsyncGenerator<string, void, undefined>;
    /** Whether it keeps the program going; it does until unref(). */
    ref(): this;
    unref(): this;
    /** Lets go of the command, which goes on. */
    close(): void;
    /** Kills the command and lets go of it. */
    [Symbol.asyncDispose](): Promise<void>;
    on(event: 'exit' | 'close', listener: (exitCode: number | null, signal: string | null) => void): this;
    on(event: 'error', listener: (error: Error) => void): this;
    once(event: 'exit' | 'close', listener: (exitCode: number | null, signal: string | null) => void): this;
    once(event: 'error', listener: (error: Error) => void): this;
}
