import { EventEmitter } from 'node:events';
import { Duplex, Readable, Writable } from 'node:stream';
import { ReadableStream, WritableStream } from 'node:stream/web';

/** The library's version, such as "0.1.0". */
export const version: string;
/** What the loaded library offers; see boxlite_abi_version() in boxlite.h. */
export const abiVersion: number;

/** Passed on byte by byte: a string as UTF-8, or any bytes but NUL. */
export type Bytes = string | Uint8Array;
export type Engine = 'auto' | 'krun' | 'qemu';
/** Names as in os.constants.signals, or a number. */
export type Signal = NodeJS.Signals | number;

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

export interface Progress {
    /** "prepare", "resolve", "pull", "image-disk", "boot", "done", or others. */
    stage: string;
    reference: string;
    layers: { digest: string; doneBytes: number; totalBytes: number }[];
}

/** Of every call. */
export interface CallOptions {
    /** Ends the call, which then rejects with an AbortError. */
    signal?: AbortSignal;
    /** How many milliseconds the call may take: then it rejects with BOXLITE_TIMEOUT. */
    deadline?: number;
}

/** Of calls that may have to pull an image and start a box. */
export interface StartOptions extends CallOptions {
    onProgress?: (progress: Progress) => void;
}

export interface Registry {
    /** With ":port" where it is not the usual one. */
    host: string;
    transport?: 'https' | 'http';
    /** Whether short image names are looked up here. */
    search?: boolean;
    /** Whether any TLS certificate is accepted. */
    skipVerify?: boolean;
    username?: string;
    password?: string;
    /** A bearer token. */
    token?: string;
}

export interface RuntimeOptions {
    /** Default: $BOXLITE_HOME, else ~/.boxlite. */
    home?: Bytes;
    /** Where the shim, the guest disk and the kernel are. */
    runtimeDir?: Bytes;
    engine?: Engine;
    registries?: Registry[];
    /** How many bytes on disk the home's templates may take together, default 1 GiB; 0: every box boots. */
    templateSpace?: number;
    /** Boxes kept ready ahead of being asked for, of the kind that was started last. Default 1; 0 = none. */
    spares?: number;
    /** A descriptor for the log, one JSON object a line. */
    logFd?: number;
    logLevel?: 'error' | 'warn' | 'info' | 'debug';
    maxLayerBytes?: number;
    maxImageEntries?: number;
}

export interface BoxOptions {
    /** Unique in the home. */
    name?: string;
    /** Default "alpine:latest". */
    image?: string;
    /** A directory on the host, instead of an image. */
    rootfs?: Bytes;
    cpus?: number;
    memoryMib?: number;
    diskSizeGb?: number;
    diskCache?: 'writeback' | 'unsafe';
    env?: Record<string, Bytes>;
    cwd?: Bytes;
    /** "name", "uid", "uid:gid" or "name:group". */
    user?: string;
    /** Whether the box and its data go when it stops; default false. */
    autoRemove?: boolean;
    /** Whether the box goes on when its runtime ends; default false. */
    detach?: boolean;
    engine?: Engine;
    labels?: Record<string, string>;
}

export interface BoxInfo {
    id: string;
    name: string | null;
    status: 'unknown' | 'configured' | 'running' | 'stopping' | 'stopped' | 'paused' | 'failed';
    createdAt: Date;
    updatedAt: Date;
    startedAt: Date | null;
    pid: number | null;
    image: string;
    cpus: number;
    memoryMib: number;
    diskSizeGb: number;
    autoRemove: boolean;
    detach: boolean;
    failure: string | null;
    engine: 'libkrun' | 'qemu-kvm' | 'qemu-tcg' | null;
    labels: Record<string, string>;
    /** The steps of the last start, in microseconds. */
    stages: { name: string; us: number }[];
}

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

/** Which streams to take; an offset says from which byte on, true from the oldest that is still there. */
export interface AttachOptions extends CallOptions {
    stdin?: boolean;
    stdout?: boolean | number;
    stderr?: boolean | number;
    tty?: boolean | number;
}

export interface StreamState {
    /** Offset of the first byte that the present taker got. */
    first: number;
    /** Bytes that were written. */
    total: number;
    dropped: number;
    closed: boolean;
}

export interface ExecutionInfo {
    id: string;
    args: string[];
    startedAt: Date;
    tty: boolean;
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

/** A virtual machine made from an image, running or not. */
export class Box implements AsyncDisposable {
    private constructor();
    readonly id: string;
    readonly name: string | null;
    /** Runs a command to its end; starts the box when it does not run. */
    exec(program: Bytes, args: readonly Bytes[] | undefined, options: ExecOptions & { encoding: 'buffer' }): Promise<ExecResult<Buffer>>;
    exec(program: Bytes, args?: readonly Bytes[], options?: ExecOptions): Promise<ExecResult>;
    exec(program: Bytes, options: ExecOptions & { encoding: 'buffer' }): Promise<ExecResult<Buffer>>;
    exec(program: Bytes, options?: ExecOptions): Promise<ExecResult>;
    /** Starts a command, and gives it when it runs. */
    spawn(program: Bytes, args?: readonly Bytes[], options?: SpawnOptions): Promise<Child>;
    spawn(program: Bytes, options?: SpawnOptions): Promise<Child>;
    /** Takes up a command by its id, whichever process started it. */
    attach(id: string, options?: AttachOptions): Promise<Child>;
    executions(options?: CallOptions): Promise<ExecutionInfo[]>;
    /**
     * Copies a file or a directory of the host into the box: to exactly `boxPath`, which is absolute, or into it when it is
     * an existing directory or ends in "/". Missing directories are made. What a call that is cut off has copied by then
     * stays; no file has its name before it is complete.
     */
    copyIn(hostPath: Bytes, boxPath: Bytes, options?: CopyOptions): Promise<void>;
    /** Copies a file or a directory of the box to the host, by the same rules. */
    copyOut(boxPath: Bytes, hostPath: Bytes, options?: CopyOptions): Promise<void>;
    /**
     * Unpacks a tar archive into a directory of the box, which is made where it is missing. `fd` is a file's, a pipe's or a
     * socket's descriptor, read to its end; it stays the caller's, and may be closed once this was called.
     */
    copyInTar(fd: number, boxPath: Bytes, options?: Pick<CopyOptions, 'overwrite' | keyof StartOptions>): Promise<void>;
    /** Writes a file or a directory of the box to a descriptor, as a tar archive, whose end a failed call leaves out. */
    copyOutTar(boxPath: Bytes, fd: number, options?: Omit<CopyOptions, 'overwrite'>): Promise<void>;
    /** The bytes of a file of the box. */
    readFile(boxPath: Bytes, options?: ReadFileOptions): Promise<Buffer>;
    /** Makes a file in the box, or another in its place; missing directories are made. `data` is copied at once. */
    writeFile(boxPath: Bytes, data: string | Uint8Array, options?: WriteFileOptions): Promise<void>;
    info(options?: CallOptions): Promise<BoxInfo>;
    start(options?: StartOptions): Promise<void>;
    /** Afterwards this object gives BOXLITE_STOPPED: get the box again. */
    stop(options?: CallOptions): Promise<void>;
    /** Lets go of the box, which goes on. */
    close(): void;
    /** Stops the box when create() made this object and the box is not detached; lets go of it. */
    [Symbol.asyncDispose](): Promise<void>;
}

/** One home directory with its boxes and images. */
export class Runtime implements AsyncDisposable {
    private constructor();
    static open(options?: RuntimeOptions): Promise<Runtime>;
    /** Repairs a home whose database is damaged or lost. */
    static repair(options?: RuntimeOptions): Promise<{
        boxes: { id: string; name: string | null; outcome: 'kept' | 'rebuilt' | 'lost'; detail: string }[];
        keptAside: string[];
    }>;
    /** Makes a box; it starts at its first use. */
    create(options?: BoxOptions & CallOptions): Promise<Box>;
    /** By id, a unique beginning of it, or name. */
    get(idOrName: string, options?: CallOptions): Promise<Box>;
    /** Newest first; only those with all of `labels`, where null stands for any value. */
    list(options?: CallOptions & { labels?: Record<string, string | null> }): Promise<BoxInfo[]>;
    remove(idOrName: string, options?: CallOptions & { force?: boolean }): Promise<void>;
    /**
     * Makes the template that boxes of this size are cloned from, so that the first of them need not boot, either; does
     * nothing where there is one, or boxes have none.
     */
    prepare(options?: Omit<BoxOptions, 'name'> & CallOptions): Promise<void>;
    systemCheck(options?: CallOptions): Promise<{
        name: string;
        status: 'ok' | 'warning' | 'failed';
        detail: string;
        remedy: string;
    }[]>;
    /** Stops the boxes that this runtime started and that are not detached; `grace` in milliseconds, or Infinity. */
    shutdown(options?: CallOptions & { grace?: number }): Promise<void>;
    /** Lets go of the runtime; unless something else holds it, it ends in the background, and its boxes with it. */
    close(): void;
    /** Shuts down. */
    [Symbol.asyncDispose](): Promise<void>;
}
