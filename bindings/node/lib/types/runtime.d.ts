// A home: how it is opened, and what can be done with it.

import type { Box, BoxInfo, BoxOptions } from './box.js';
import type { Bytes, CallOptions, Engine } from './calls.js';
import type { Images } from './images.js';
import type { RuntimeMetrics } from './metrics.js';

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
    /**
     * Asked first, in this order: "host", "host:port", or either after "http://" or "https://". One that is of no use is
     * left with a line in the log.
     */
    mirrors?: string[];
}

export interface RuntimeOptions {
    /** Default: $BOXLITE_HOME, else ~/.boxlite. */
    home?: Bytes;
    /** Where the shim, the guest disk and the kernel are. */
    runtimeDir?: Bytes;
    engine?: Engine;
    registries?: Registry[];
    /**
     * The file in which `docker login` keeps credentials, "" for none; default $DOCKER_CONFIG/config.json, else
     * ~/.docker/config.json. It is read at each pull from a registry without credentials of its own here.
     */
    dockerConfig?: Bytes;
    /** PEM files with authorities of registries, trusted beside the system's. */
    caFiles?: Bytes[];
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

/** One home directory with its boxes and images. */
export class Runtime implements AsyncDisposable {
    private constructor();
    readonly images: Images;
    static open(options?: RuntimeOptions & CallOptions): Promise<Runtime>;
    /** Repairs a home whose database is damaged or lost. */
    static repair(options?: RuntimeOptions & CallOptions): Promise<{
        boxes: { id: string; name: string | null; outcome: 'kept' | 'rebuilt' | 'lost'; detail: string }[];
        keptAside: string[];
    }>;
    /** Makes a box; it starts at its first use. */
    create(options?: BoxOptions & CallOptions): Promise<Box>;
    /**
     * Finds the box with this name, or makes it where there is none: of any number of callers, in any processes, exactly
     * one. A box that is found is as it was made, whatever the options say; `box.created` tells.
     */
    getOrCreate(options: BoxOptions & CallOptions & { name: string }): Promise<Box>;
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
    /** What the runtime has done since it was opened. */
    metrics(options?: CallOptions): Promise<RuntimeMetrics>;
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
