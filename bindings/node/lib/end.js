'use strict';
// The end of a box's run, watched for by the event loop: one descriptor, however many wait and give up. The library keeps
// its part of a descriptor until the box ends, so each wait with one of its own would cost another.

const native = require('./native.js');
const { call } = require('./call.js');
const { aborted } = require('./errors.js');

// Longer than setTimeout() can wait: some 24 days.
const LONGEST_TIMER = 2 ** 31 - 1;
// Those that are waited for: nothing else needs to know of them.
const waitedFor = new Set();

class End {
    #box;
    #watch;
    #closed = false;
    #waiting = new Set();

    /** Of the addon's watch, whose box it closes: who waits does so beyond the close() of the box it is of. */
    constructor({ box, watch, ended }) {
        this.#box = box;
        this.#watch = watch;
        this.over = false;
        native.watchRef(watch, false);
        // One that is forgotten and not waited for keeps nothing.
        const self = new WeakRef(this);
        ended.then(() => self.deref()?.#told());
    }

    #told() {
        this.over = true;
        for (const wake of this.#waiting) wake();
        this.#settle();
    }

    async wait({ signal, deadline }) {
        if (signal?.aborted) throw aborted(signal);
        let late = false;
        let timer;
        let wake;
        const woken = new Promise((resolve) => { wake = resolve; });
        this.#waiting.add(wake);
        this.#settle();
        if (deadline <= LONGEST_TIMER) timer = setTimeout(() => { late = true; wake(); }, deadline);
        signal?.addEventListener('abort', wake, { once: true });
        try {
            if (!this.over) await woken;
            if (signal?.aborted) throw aborted(signal, { message: 'the wait was given up: its signal was aborted' });
            // Of a box that has not ended, the library says that time is up.
            return await call({ signal, deadline: late && !this.over ? 0 : undefined }, (one) => native.boxWait(this.#box, one));
        } finally {
            clearTimeout(timer);
            signal?.removeEventListener('abort', wake);
            this.#waiting.delete(wake);
            this.#settle();
        }
    }

    /** Nobody will begin to wait any more. */
    close() {
        this.#closed = true;
        this.#settle();
    }

    #settle() {
        if (this.#waiting.size > 0) {
            waitedFor.add(this);
            native.watchRef(this.#watch, true);
            return;
        }
        waitedFor.delete(this);
        native.watchRef(this.#watch, false);
        if (this.#closed || this.over) {
            native.watchEnd(this.#watch);
            native.close(this.#box);
        }
    }
}

module.exports = { End };
