'use strict';
// A box, and what runs in it.

const fs = require('node:fs');
const native = require('./native.js');
const { call } = require('./call.js');
const { Child } = require('./child.js');
const { End } = require('./end.js');
const { ExitError } = require('./errors.js');
const { figures } = require('./metrics.js');
const { known, choice, split, refuse, ending, LOGS, STDIN, OUTPUT } = require('./options.js');

const OLDEST = -1;
// As much as exec() keeps of a stream.
const MAX_BYTES = 64 * 1024 * 1024;

/** An exec's outcome, with its bytes in the encoding that was asked for. */
function outcome(result, encoding) {
    const decode = (bytes) => (encoding === 'buffer' ? bytes : bytes.toString(encoding));
    const { stdoutTotal, stdoutTruncated, stderrTotal, stderrTruncated, outputStillOpen } = result;
    return {
        ...ending(result),
        stdout: decode(result.stdout),
        stderr: decode(result.stderr),
        stdoutTotal,
        stdoutTruncated,
        stderrTotal,
        stderrTruncated,
        outputStillOpen,
    };
}

function command(program, args, { env, cwd, user, timeout, limits, mergeStderr, ...rest }) {
    return { program, args, env, cwd, user, timeout, limits, mergeStderr, ...rest };
}

class Box {
    #handle;
    #owned;
    #end;

    /** Not for callers: `owned` says whether disposing of this object stops the box. */
    constructor({ handle, id, name, created = false }, owned) {
        this.#handle = handle;
        this.#owned = owned;
        this.id = id;
        this.name = name;
        this.created = created;
    }

    /** Runs a command to its end. */
    async exec(program, args, options) {
        const [words, given] = split(args, options);
        const { input, maxOutput, drain, encoding = 'utf8', reject = true, stdout, stderr, ...common } = known('exec', given);
        if (encoding !== 'buffer' && !Buffer.isEncoding(encoding)) {
            throw refuse('encoding', `there is no ${String(encoding)}`, "use 'buffer', 'utf8', or another encoding of Buffer");
        }
        const wanted = command(program, words, {
            ...common,
            input,
            maxOutput,
            drain,
            stdout: choice('stdout', { pipe: OUTPUT.pipe, ignore: OUTPUT.ignore }, stdout),
            stderr: choice('stderr', { pipe: OUTPUT.pipe, ignore: OUTPUT.ignore }, stderr),
        });
        let result;
        try {
            result = outcome(await call(given, (one) => native.exec(this.#handle, wanted, one)), encoding);
        } catch (error) {
            if (error.result !== undefined) {
                const { stdout: out, stderr: err } = outcome(error.result, encoding);
                delete error.result;
                Object.assign(error, { stdout: out, stderr: err });
            }
            throw error;
        }
        if (reject && result.exitCode !== 0) throw new ExitError(String(program), result);
        return result;
    }

    /** Starts a command, and gives it when it runs. */
    async spawn(program, args, options) {
        const [words, given] = split(args, options);
        const { stdin = 'pipe', stdout = 'pipe', stderr = 'pipe', tty, ...common } = known('spawn', given);
        const wanted = command(program, words, {
            ...common,
            stdin: choice('stdin', STDIN, tty ? undefined : stdin),
            stdout: choice('stdout', OUTPUT, stdout),
            stderr: choice('stderr', OUTPUT, stderr),
            tty: tty === true ? {} : tty || undefined,
        });
        const streams = {
            tty: Boolean(tty) && stdout === 'pipe',
            stdin: !tty && stdin !== 'ignore',
            stdout: !tty && stdout === 'pipe',
            stderr: !tty && !wanted.mergeStderr && stderr === 'pipe',
        };
        return this.#take(given, streams, {}, (takes, one) => native.execStart(this.#handle, wanted, takes, one));
    }

    /**
     * Takes up a command by its id, whichever process started it. Streams are taken where they are asked for: stdout and
     * stderr from an offset, or (true) from the oldest byte that is still there.
     */
    async attach(id, options) {
        const { stdin = false, stdout = false, stderr = false, tty = false } = known('attach', options);
        const offset = (output) => (output === true ? OLDEST : output);
        const streams = {
            tty: tty !== false,
            stdin: stdin !== false,
            stdout: stdout !== false,
            stderr: stderr !== false,
        };
        if (streams.tty && (streams.stdin || streams.stdout || streams.stderr)) {
            throw refuse('tty', 'a terminal is the only stream of its command', 'take either the terminal or the others');
        }
        const offsets = { stdout: offset(streams.tty ? tty : stdout), stderr: offset(stderr) };
        return this.#take(options, streams, offsets, (takes, one) => native.attach(this.#handle, id, takes, one));
    }

    async #take(options, streams, offsets, begin) {
        const takes = {
            tty: streams.tty,
            stdin: streams.stdin ? OLDEST : undefined,
            stdout: streams.stdout || streams.tty ? offsets.stdout ?? OLDEST : undefined,
            stderr: streams.stderr ? offsets.stderr ?? OLDEST : undefined,
        };
        return new Child(await call(options, (one) => begin(takes, one)), streams);
    }

    /** Copies a file or a directory of the host into the box. */
    async copyIn(hostPath, boxPath, options) {
        const how = known('copy', options);
        return call(options, (one) => native.copyIn(this.#handle, hostPath, boxPath, how, one));
    }

    /** Copies a file or a directory of the box to the host. */
    async copyOut(boxPath, hostPath, options) {
        const how = known('copy', options);
        return call(options, (one) => native.copyOut(this.#handle, boxPath, hostPath, how, one));
    }

    /** Unpacks the tar archive that is read from a descriptor into a directory of the box. */
    async copyInTar(fd, boxPath, options) {
        const how = known('copyInTar', options);
        return call(options, (one) => native.copyInTar(this.#handle, fd, boxPath, how, one));
    }

    /** Writes a file or a directory of the box to a descriptor, as a tar archive. */
    async copyOutTar(boxPath, fd, options) {
        const how = known('copyOutTar', options);
        return call(options, (one) => native.copyOutTar(this.#handle, boxPath, fd, how, one));
    }

    /** The bytes of a file of the box. */
    async readFile(boxPath, options) {
        const { maxBytes = MAX_BYTES } = known('readFile', options);
        return call(options, (one) => native.readFile(this.#handle, boxPath, maxBytes, one));
    }

    /** Makes a file in the box, or another in its place. */
    async writeFile(boxPath, data, options) {
        const { mode } = known('writeFile', options);
        return call(options, (one) => native.writeFile(this.#handle, boxPath, data, mode, one));
    }

    /** The box's commands: those that run, and the newest 64 that have ended. */
    async executions(options) {
        const list = await call(known('call', options), (one) => native.executions(this.#handle, one));
        const named = (modes, number) => Object.keys(modes).find((mode) => modes[mode] === number);
        return list.map(({ startedAt, stdin, stdout, stderr, exit, ...rest }) => ({
            ...rest,
            startedAt: new Date(startedAt),
            stdin: named(STDIN, stdin),
            stdout: named(OUTPUT, stdout),
            stderr: named(OUTPUT, stderr),
            exit: exit && ending(exit),
        }));
    }

    async info(options) {
        return told(await call(known('call', options), (one) => native.boxInfo(this.#handle, one)));
    }

    async start(options) {
        return call(known('call', options), (one) => native.boxStart(this.#handle, one));
    }

    async stop(options) {
        return call(known('call', options), (one) => native.boxStop(this.#handle, one));
    }

    /** Waits until the box does not run, whoever ends it, and says how its last run ended. */
    async wait(options) {
        const { signal, deadline: given } = known('wait', options);
        const deadline = given ?? undefined;
        if (deadline !== undefined && !(Number.isSafeInteger(deadline) && deadline >= 0)) {
            throw refuse('deadline', `is ${String(deadline)}`, 'give whole milliseconds');
        }
        // Of a box that was started again, the next end.
        if (this.#end === undefined || this.#end.over) this.#end = new End(native.boxWatch(this.#handle));
        return this.#end.wait({ signal, deadline });
    }

    /** Opens a log of the box, 'console' or 'shim', at its beginning. */
    async openLog(which) {
        const log = choice('which', LOGS, which ?? '');
        return fs.createReadStream('', { fd: await call({}, () => native.boxLog(this.#handle, log)) });
    }

    /** What the box takes, and what was done in it. */
    async metrics(options) {
        return figures(await call(known('call', options), (one) => native.boxMetrics(this.#handle, one)));
    }

    /** Lets go of the box, which goes on. */
    close() {
        this.#end?.close();
        this.#end = undefined;
        native.close(this.#handle);
    }

    /** Stops a box that was made by this object's create() and is not detached; lets go of any. */
    async [Symbol.asyncDispose]() {
        try {
            if (this.#owned) await this.stop();
        } catch (error) {
            if (error.code !== 'BOXLITE_STOPPED') throw error;
        } finally {
            this.close();
        }
    }
}

/** A box's info with dates, and null where there is nothing. */
function told({ createdAt, updatedAt, startedAt, pid, ...rest }) {
    return {
        ...rest,
        createdAt: new Date(createdAt),
        updatedAt: new Date(updatedAt),
        startedAt: startedAt < 0 ? null : new Date(startedAt),
        pid: pid === 0 ? null : pid,
    };
}

module.exports = { Box, told };
