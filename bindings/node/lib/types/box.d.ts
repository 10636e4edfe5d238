// A box: how it is made, what is known of it, and what can be done with it.

import type { ReadStream } from 'node:fs';
import type { Bytes, CallOptions, Engine, StartOptions } from './calls.js';
import type { AttachOptions, Child, ExecutionInfo, SpawnOptions } from './child.js';
import type { ExecOptions, ExecResult } from './exec.js';
import type { CopyOptions, ReadFileOptions, WriteFileOptions } from './files.js';
import type { BoxMetrics } from './metrics.js';

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
    /** Milliseconds after a start at which the box is stopped, whatever it does; 0, the default: never. */
    maxLifetime?: number;
    /** Milliseconds without a command or an open stream after which the box is stopped; 0, the default: never. */
    idleTimeout?: number;
    /** How many processes and threads there may be in the box, over all commands; 0: as many as by default. */
    pidsMax?: number;
    /** Thousandths of one CPU for all commands of the box together; 0, the default: what its vCPUs give. */
    cpuMillis?: number;
    /** Descriptors of each process of a command; 0, the default: 1024, and more for a program that asks. */
    maxOpenFiles?: number;
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

/** How a box's last run ended. */
export interface BoxEnd {
    /**
     * stopped: by a call, or a signal to its shim; owner-gone: the process that started it went away; main-exited:
     * reserved, as a box has no main command today; crashed: its virtual machine ended by a fault; killed: it did not stop
     * in time, or its shim was killed; removed: and how it ended before is not known; lifetime, idle: see BoxOptions;
     * out-of-memory: the host's kernel killed its virtual machine for want of memory. Later versions may have more.
     */
    reason: 'stopped' | 'owner-gone' | 'main-exited' | 'crashed' | 'killed' | 'removed' | 'lifetime' | 'idle' | 'out-of-memory'
        | 'unknown';
    /** A sentence for a person, of a crash with the end of the guest's console. */
    message: string;
}

/** A virtual machine made from an image, running or not. */
export class Box implements AsyncDisposable {
    private constructor();
    readonly id: string;
    readonly name: string | null;
    /** Whether the call that gave this object made the box. */
    readonly created: boolean;
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
    /**
     * Waits until the box does not run, whoever started it and whoever ends it, and says how its last run ended; at once
     * when it does not run now, and also after stop(). No thread waits meanwhile. A wait keeps the program going, until its
     * signal is aborted; close() does not end it. A box that never ran is BOXLITE_INVALID_STATE.
     */
    wait(options?: CallOptions): Promise<BoxEnd>;
    /**
     * A log of the box, from its first start to its removal: what the guest wrote to the console, or what the box's shim
     * noted of starts and ends. The stream is what is there now, as any bytes; destroy() it when it isn't read to its end.
     */
    openLog(which: 'console' | 'shim'): Promise<ReadStream>;
    /** What the running box takes, and what was done in it; else BOXLITE_INVALID_STATE. */
    metrics(options?: CallOptions): Promise<BoxMetrics>;
    /** Lets go of the box, which goes on. */
    close(): void;
    /** Stops the box when it was created with this object and is not detached; lets go of it. */
    [Symbol.asyncDispose](): Promise<void>;
}
