'use strict';
// A command that runs in a box, as child_process has one that runs on the host.

const { EventEmitter, once } = require('node:events');
const { Readable, Writable } = require('node:stream');
const native = require('./native.js');
const { call } = require('./call.js');
const { BoxStream, lines } = require('./streams.js');
const { known, refuse, ending, signalNumber } = require('./options.js');

const OUTPUTS = { stdout: 1, stderr: 2 };

class Child extends EventEmitter {
    #handle;
    #watch;
    #closed;
    #web = null;

    /** Not for callers: `streams` says which of stdin, stdout, stderr and tty there are. */
    constructor({ handle, id }, streams) {
        super();
        this.#handle = handle;
        this.id = id;
        this.exitCode = null;
        this.signalCode = null;
        this.tty = streams.tty ? new BoxStream(handle, 'tty') : null;
        this.stdin = this.tty ?? (streams.stdin ? new BoxStream(handle, 'stdin') : null);
        this.stdout = this.tty ?? (streams.stdout ? new BoxStream(handle, 'stdout') : null);
        this.stderr = streams.stderr ? new BoxStream(handle, 'stderr') : null;
        const { watch, ended } = native.executionWatch(handle);
        this.#watch = watch;
        this.#closed = this.#attend(ended);
        this.#closed.catch((error) => {
            if (this.listenerCount('error') > 0) this.emit('error', error);
        });
    }

    async #attend(ended) {
        await ended;
        const exit = ending(await native.executionWait(this.#handle, undefined));
        this.exitCode = exit.exitCode;
        this.signalCode = exit.signal;
        this.emit('exit', exit.exitCode, exit.signal);
        if (this.stdin !== this.tty) this.stdin?.destroy();
        for (const output of [this.stdout, this.stderr]) {
            // One that nobody has begun to read can still be read, and holds nobody up.
            if (output?.started && !output.closed) {
                await new Promise((resolve) => { output.once('close', resolve); });
            }
        }
        this.emit('close', exit.exitCode, exit.signal);
        return exit;
    }

    /** How the command ended, once it has and what is being read of its output is at its end. */
    wait() {
        return this.#closed;
    }

    /** A signal to the command's process. */
    async signal(signal, options) {
        const number = signalNumber(signal);
        return call(known('call', options), (one) => native.executionSignal(this.#handle, number, one));
    }

    /** SIGKILL to all of the command's processes. */
    async kill(options) {
        return call(known('call', options), (one) => native.executionKill(this.#handle, one));
    }

    async resize(rows, cols, options) {
        return call(known('call', options), (one) => native.executionResizeTty(this.#handle, rows, cols, one));
    }

    /** End of input once the process has been given so many bytes, by whomever. */
    async closeStdin(totalBytes, options) {
        return call(known('call', options), (one) => native.executionCloseStdin(this.#handle, totalBytes, one));
    }

    async streamState(which, options) {
        if (!Object.hasOwn(OUTPUTS, which)) throw refuse('which', `is ${String(which)}`, 'use stdout or stderr');
        return call(known('call', options), (one) => native.executionStreamState(this.#handle, OUTPUTS[which], one));
    }

    /** The lines of an output stream. */
    lines(which = 'stdout') {
        const stream = Object.hasOwn(OUTPUTS, which) ? this[which] : null;
        if (stream === null) throw refuse('which', `${String(which)} is no output that was piped`, "spawn with stdout or stderr 'pipe'");
        return lines(stream);
    }

    [Symbol.asyncIterator]() {
        return this.lines();
    }

    /** The same streams as Web streams. */
    get web() {
        this.#web ??= {
            stdin: this.stdin && Writable.toWeb(this.stdin),
            stdout: this.stdout && Readable.toWeb(this.stdout),
            stderr: this.stderr && Readable.toWeb(this.stderr),
        };
        return this.#web;
    }

    /** Whether waiting for the command keeps the program going; it does until unref(). */
    ref() {
        native.watchRef(this.#watch, true);
        return this;
    }

    unref() {
        native.watchRef(this.#watch, false);
        return this;
    }

    /** Lets go of the command, which goes on, and closes what was not read of its streams. */
    close() {
        for (const stream of [this.stdin, this.stdout, this.stderr]) stream?.destroy();
        this.unref();
    }

    async [Symbol.asyncDispose]() {
        if (this.exitCode === null && this.signalCode === null) {
            await this.kill().catch(() => {});
            if (this.exitCode === null && this.signalCode === null) {
                await Promise.race([once(this, 'exit').catch(() => {}), this.#closed.catch(() => {})]);
            }
        }
        this.close();
    }
}

module.exports = { Child };
