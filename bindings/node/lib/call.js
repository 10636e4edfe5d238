'use strict';
// A call into the library: its AbortSignal, its deadline, its progress.

const native = require('./native.js');
const { aborted } = require('./errors.js');

/** `begin(call)` gives the addon's promise; `call` is undefined when nothing asks for one. */
async function call(options, begin) {
    const { signal, deadline, onProgress } = options ?? {};
    if (signal?.aborted) throw aborted(signal);
    const handle = signal || onProgress || deadline !== undefined ? native.callNew(deadline, onProgress) : undefined;
    const abort = () => native.callCancel(handle);
    signal?.addEventListener('abort', abort, { once: true });
    try {
        return await begin(handle);
    } catch (error) {
        if (signal?.aborted && error.code === 'BOXLITE_CANCELLED') throw aborted(signal, error);
        // The addon made it where no JavaScript was.
        Error.captureStackTrace(error, call);
        throw error;
    } finally {
        signal?.removeEventListener('abort', abort);
        if (handle !== undefined) native.close(handle);
    }
}

module.exports = { call };
