'use strict';
// The images of a runtime's home: fetched ahead, found, listed, removed; and what no box needs any more.

const native = require('./native.js');
const { call } = require('./call.js');
const { known } = require('./options.js');

function dated({ storedAt, ...rest }) {
    return { ...rest, storedAt: new Date(storedAt) };
}

class Images {
    #handle;

    /** Not for callers: of a runtime's handle. */
    constructor(handle) {
        this.#handle = handle;
    }

    /** Asks the image's source what it is now, and fetches what the store lacks. */
    async pull(reference, options) {
        return dated(await call(known('call', options), (one) => native.imagePull(this.#handle, reference, one)));
    }

    /** Finds an image in the store, by its reference or its digest. */
    async get(reference, options) {
        return dated(await call(known('call', options), (one) => native.imageGet(this.#handle, reference, one)));
    }

    /** The complete images of the home, the one stored last first. */
    async list(options) {
        return (await call(known('call', options), (one) => native.imageList(this.#handle, one))).map(dated);
    }

    /** Removes an image, with all that no other needs; one that boxes use only by `force`. */
    async remove(reference, options) {
        const { force = false } = known('remove', options);
        return call(options, (one) => native.imageRemove(this.#handle, reference, force, one));
    }

    /** Deletes what no box of the home needs, or says what that would be. */
    async prune(options) {
        const { dryRun = false } = known('prune', options);
        return call(options, (one) => native.imagePrune(this.#handle, dryRun, one));
    }
}

module.exports = { Images };
