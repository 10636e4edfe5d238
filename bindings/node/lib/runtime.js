'use strict';
// The runtime: one home directory with its boxes and images.

const native = require('./native.js');
const { call } = require('./call.js');
const { Box, told } = require('./box.js');
const { Images } = require('./images.js');
const { figures } = require('./metrics.js');
const { known, choice, ENGINES, TRANSPORTS, LEVELS, CACHES } = require('./options.js');

const DEFAULT_GRACE = -2;

function forAddon(options) {
    const { engine, logLevel, registries, ...rest } = known('open', options);
    return {
        ...rest,
        engine: choice('engine', ENGINES, engine),
        logLevel: choice('logLevel', LEVELS, logLevel),
        registries: registries?.map((registry) => ({
            ...known('registry', registry),
            transport: choice('transport', TRANSPORTS, registry.transport),
        })),
    };
}

function boxForAddon({ engine, diskCache, ...rest }) {
    return { ...rest, engine: choice('engine', ENGINES, engine), diskCache: choice('diskCache', CACHES, diskCache) };
}

class Runtime {
    #handle;

    constructor(handle) {
        if (handle === undefined) throw new TypeError('a runtime is opened by `await Runtime.open()`');
        this.#handle = handle;
        this.images = new Images(handle);
    }

    static async open(options) {
        const wanted = forAddon(options);
        return new Runtime(await call(options, (one) => native.runtimeOpen(wanted, one)));
    }

    /** Repairs a home whose database is damaged; no runtime needs to open. */
    static async repair(options) {
        const wanted = forAddon(options);
        return call(options, (one) => native.runtimeRepair(wanted, one));
    }

    /** Makes a box; it starts at its first use. */
    async create(options) {
        const { name, ...rest } = known('create', options);
        const wanted = boxForAddon(rest);
        const made = await call(options, (one) => native.create(this.#handle, wanted, name, one));
        return new Box({ ...made, created: true }, !rest.detach);
    }

    /** Finds the box with this name, or makes it where there is none; box.created tells which. */
    async getOrCreate(options) {
        const { name, ...rest } = known('create', options);
        const wanted = boxForAddon(rest);
        const had = await call(options, (one) => native.getOrCreate(this.#handle, wanted, name, one));
        return new Box(had, had.created && !rest.detach);
    }

    /** Finds a box by its id, a unique beginning of its id, or its name. */
    async get(idOrName, options) {
        return new Box(await call(known('call', options), (one) => native.get(this.#handle, idOrName, one)), false);
    }

    /** The boxes of the home, newest first; those with all of `labels`, where null stands for any value. */
    async list(options) {
        const { labels } = known('list', options);
        return (await call(options, (one) => native.list(this.#handle, { labels }, one))).map(told);
    }

    async remove(idOrName, options) {
        const { force = false } = known('remove', options);
        return call(options, (one) => native.remove(this.#handle, idOrName, force, one));
    }

    /** Makes the template that boxes of this size are cloned from. */
    async prepare(options) {
        const wanted = boxForAddon(known('prepare', options));
        return call(options, (one) => native.runtimePrepare(this.#handle, wanted, one));
    }

    /** What the runtime has done since it was opened. */
    async metrics(options) {
        return figures(await call(known('call', options), (one) => native.runtimeMetrics(this.#handle, one)));
    }

    /** What this machine offers, and what is missing. */
    async systemCheck(options) {
        return call(known('call', options), (one) => native.runtimeSystemCheck(this.#handle, one));
    }

    /** Stops the boxes that this runtime started and that are not detached, within `grace` milliseconds. */
    async shutdown(options) {
        const { grace = DEFAULT_GRACE } = known('shutdown', options);
        return call(options, (one) => native.runtimeShutdown(this.#handle, grace === Infinity ? -1 : grace, one));
    }

    /** Lets go of the runtime; when nothing else holds it, it ends in the background, and its boxes with it. */
    close() {
        native.close(this.#handle);
    }

    async [Symbol.asyncDispose]() {
        try {
            await this.shutdown();
        } finally {
            this.close();
        }
    }
}

module.exports = { Runtime };
