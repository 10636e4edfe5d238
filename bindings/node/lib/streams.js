'use strict';
// A command's streams as Node streams, straight on their descriptors.
//
// The descriptor becomes a socket at the first use only: a stream that nobody reads holds neither the event loop nor,
// once its object is forgotten, the descriptor. What an end of file means is asked of the box: a stream that was cut off
// ends with an error.

const fs = require('node:fs');
const net = require('node:net');
const { Duplex } = require('node:stream');
const { StringDecoder } = require('node:string_decoder');
const native = require('./native.js');
const { cut } = require('./errors.js');

const PLACES = { stdin: 0, stdout: 1, stderr: 2 };
const END_OF_TERMINAL_INPUT = '\x04';

class BoxStream extends Duplex {
    #execution;
    #place;
    #terminal;
    #socket = null;
    #received = 0;

    /** `execution` is the addon's handle; `name` is stdin, stdout, stderr, or tty. */
    constructor(execution, name) {
        const terminal = name === 'tty';
        super({ readable: name !== 'stdin', writable: terminal || name === 'stdin' });
        this.#execution = execution;
        this.#place = terminal ? PLACES.stdout : PLACES[name];
        this.#terminal = terminal;
    }

    /** Whether somebody has begun to use it. */
    get started() {
        return this.#socket !== null;
    }

    /** How many bytes have come from the box. */
    get bytesRead() {
        return this.#received;
    }

    #open() {
        if (this.#socket !== null) return this.#socket;
        const fd = native.executionClaim(this.#execution, this.#place);
        const readable = this.#place !== PLACES.stdin;
        const writable = this.#terminal || !readable;
        const socket = new net.Socket({ fd, readable, writable, allowHalfOpen: true });
        this.#socket = socket;
        socket.on('error', (error) => {
            // A reset may be an end after all: the box knows.
            if (readable && error.syscall === 'read') this.#end(error);
            else this.destroy(error);
        });
        if (readable) {
            socket.on('data', (chunk) => {
                this.#received += chunk.length;
                if (!this.push(chunk)) socket.pause();
            });
            socket.on('end', () => this.#end());
        }
        return socket;
    }

    async #end(cause) {
        let error = null;
        try {
            const state = await native.executionStreamState(this.#execution, this.#place, undefined);
            if (state.first + this.#received !== state.total || !state.closed) error = cut(this.#received, cause, state);
        } catch (unknown) {
            error = cut(this.#received, unknown);
        }
        this.#socket.destroy();
        if (error !== null) this.destroy(error);
        else if (!this.destroyed) this.push(null);
    }

    _read() {
        try {
            this.#open().resume();
        } catch (error) {
            this.destroy(error);
        }
    }

    _write(chunk, encoding, done) {
        try {
            this.#open().write(chunk, done);
        } catch (error) {
            done(error);
        }
    }

    _final(done) {
        try {
            const socket = this.#open();
            // A half-close is the end of the process's input; a terminal has a character for it.
            if (this.#terminal) socket.write(END_OF_TERMINAL_INPUT, () => done());
            else socket.end(done);
        } catch (error) {
            done(error);
        }
    }

    _destroy(error, done) {
        if (this.#socket === null) {
            try {
                const fd = native.executionClaim(this.#execution, this.#place);
                if (fd >= 0) fs.closeSync(fd);
            } catch {
                // The child was closed, and the descriptor with it.
            }
        }
        this.#socket?.destroy();
        done(error);
    }
}

/** The stream's lines, without their ends. */
async function* lines(stream) {
    const decoder = new StringDecoder('utf8');
    let rest = '';
    for await (const chunk of stream) {
        const parts = (typeof chunk === 'string' ? chunk : decoder.write(chunk)).split('\n');
        parts[0] = rest + parts[0];
        rest = parts.pop();
        for (const line of parts) yield line.endsWith('\r') ? line.slice(0, -1) : line;
    }
    rest += decoder.end();
    if (rest !== '') yield rest;
}

module.exports = { BoxStream, lines };
