// The conformance driver in Node.js: performs what it is told over stdin, and prints what it saw. It expects nothing; the
// requests and answers are told in README.md. Run with --expose-gc.

import fs from 'node:fs';
import os from 'node:os';
import readline from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { Runtime } from '../node/lib/index.mjs';

/** "op\tkey=hex\t…" */
class Request {
    constructor(line) {
        const [op, ...words] = line.split('\t');
        this.op = op;
        this.fields = words.map((word) => {
            const equals = word.indexOf('=');
            return [word.slice(0, equals), Buffer.from(word.slice(equals + 1), 'hex')];
        });
    }

    all(key) {
        return this.fields.filter(([name]) => name === key).map(([, value]) => value);
    }

    has(key) {
        return this.all(key).length > 0;
    }

    bytes(key) {
        return this.all(key)[0];
    }

    text(key) {
        return this.bytes(key)?.toString();
    }

    number(key, otherwise) {
        return this.has(key) ? Number(this.text(key)) : otherwise;
    }

    size(key) {
        const [rows, cols] = this.text(key).split(',').map(Number);
        return { rows, cols };
    }

    input() {
        return this.has('input') ? fs.readFileSync(this.text('input')) : undefined;
    }

    /** Program, arguments, and the options that exec() and spawn() have in common. */
    command() {
        const [program, ...args] = this.all('arg');
        const env = this.has('env') ? {} : undefined;
        for (const variable of this.all('env')) {
            const equals = variable.indexOf('=');
            env[variable.subarray(0, equals).toString()] = variable.subarray(equals + 1);
        }
        return [program, args, {
            env,
            cwd: this.bytes('cwd'),
            user: this.text('user'),
            timeout: this.number('timeout_ms'),
            mergeStderr: this.has('merge') || undefined,
            limits: this.has('memory') ? { memoryBytes: this.number('memory') } : undefined,
        }];
    }
}

/** Tells of what `work` fails with, also to `failed`; gives what it gives. */
async function attempt(answer, key, work, failed = () => {}) {
    try {
        return await work();
    } catch (error) {
        answer[key] = error.code ?? String(error);
        if (error.exitCode !== undefined) answer.exit_code = error.exitCode;
        failed(error);
        return undefined;
    }
}

function tellExit(answer, { exitCode, signal, timedOut, oomKilled }) {
    answer.exit = exitCode ?? -1;
    answer.signal = signal === null ? 0 : os.constants.signals[signal];
    answer.timed_out = timedOut;
    answer.oom_killed = oomKilled;
}

async function tellWait(answer, child) {
    const end = await attempt(answer, 'wait', () => child.wait());
    if (end) tellExit(answer, end);
}

/** An output that goes to a file as it comes. */
class Output {
    #chunks;
    #file;
    received = 0;
    seen = Buffer.alloc(0);
    cut = {};

    constructor(stream, path) {
        this.#chunks = stream[Symbol.asyncIterator]();
        this.#file = fs.openSync(path, 'w');
    }

    /** Reads while that is wanted and there is more. */
    async readWhile(wanted = () => true) {
        while (wanted(this)) {
            const next = await attempt(this.cut, 'code', () => this.#chunks.next());
            if (next === undefined || next.done) return;
            this.received += next.value.length;
            if (this.seen.length < 4096) this.seen = Buffer.concat([this.seen, next.value]);
            fs.writeSync(this.#file, next.value);
        }
    }

    finish(answer, key) {
        fs.closeSync(this.#file);
        if (this.cut.code !== undefined) answer[key] = this.cut.code;
    }
}

class Driver {
    constructor(runtime, box) {
        this.runtime = runtime;
        this.box = box;
    }

    async perform(r) {
        const answer = {};
        if (Object.hasOwn(ops, r.op)) await ops[r.op].call(this, r, answer);
        else answer.unknown = r.op;
        return answer;
    }

    async killShim() {
        process.kill((await this.box.info()).pid, 'SIGKILL');
    }

    /** Kills the box's shim once there is this file in the box. */
    async killWhen(path) {
        const missing = async () => {
            const told = {};
            await attempt(told, 'code', () => this.box.readFile(path, { maxBytes: 1 }));
            return told.code === 'BOXLITE_NOT_FOUND';
        };
        while (await missing()) await sleep(20);
        await this.killShim();
    }

    async copy(r, answer, method, from, to) {
        const overwrite = r.number('overwrite', 1) !== 0;
        await attempt(answer, 'error', () => this.box[method](r.bytes(from), r.bytes(to), { overwrite }));
    }
}

const ops = {
    async run(r, answer) {
        const [program, args, options] = r.command();
        const more = {
            input: r.input(), drain: r.number('drain_ms'), deadline: r.number('deadline_ms'), encoding: 'buffer', reject: false,
        };
        const killed = r.has('kill_when') ? this.killWhen(r.text('kill_when')) : undefined;
        let outputs;
        const exec = () => this.box.exec(program, args, { ...options, ...more });
        const result = await attempt(answer, 'error', exec, (error) => { outputs = error; });
        await killed;
        if (result) {
            tellExit(answer, result);
            answer.open = result.outputStillOpen;
            outputs = result;
        }
        const { stdout, stderr } = outputs;
        if (stdout !== undefined) fs.writeFileSync(r.text('out'), stdout);
        if (stderr !== undefined) fs.writeFileSync(r.text('err'), stderr);
    },

    async stream(r, answer) {
        const [program, args, options] = r.command();
        const tty = r.has('tty') ? r.size('tty') : undefined;
        const child = await attempt(answer, 'error', () => this.box.spawn(program, args, { ...options, tty }));
        if (!child) return;
        const out = new Output(child.stdout, r.text('out'));
        let err;
        let draining;
        if (!tty) {
            // A command that reads no more is no failure of the row.
            child.stdin.on('error', () => {});
            child.stdin.end(r.input());
            err = new Output(child.stderr, r.text('err'));
            draining = err.readWhile();
        }
        const until = r.bytes('until') ?? '';
        await out.readWhile(() => !out.seen.includes(until));
        await out.readWhile(() => out.received < r.number('shim_after', 0));
        if (r.has('shim_after')) await this.killShim();
        if (r.has('resize')) {
            const { rows, cols } = r.size('resize');
            await attempt(answer, 'resize', () => child.resize(rows, cols));
        }
        if (tty) child.stdin.write(r.bytes('type'));
        if (r.has('signal')) await attempt(answer, 'sent', () => child.signal(r.number('signal')));
        if (r.has('kill')) await attempt(answer, 'sent', () => child.kill());
        await out.readWhile();
        await draining;
        err?.finish(answer, 'stderr');
        out.finish(answer, 'stdout');
        await tellWait(answer, child);
    },

    /** Lets a command write what nobody takes, waits, and takes what is left. */
    async untaken(r, answer) {
        const [program, args, options] = r.command();
        const modes = { stdin: 'ignore', stdout: 'retain', stderr: 'retain' };
        const child = await this.box.spawn(program, args, { ...options, ...modes });
        await tellWait(answer, child);
        const { total, dropped, closed } = await child.streamState('stdout');
        Object.assign(answer, { total, dropped, closed });
        const attached = await this.box.attach(child.id, { stdout: true });
        const out = new Output(attached.stdout, r.text('out'));
        await out.readWhile();
        out.finish(answer, 'stdout');
    },

    /** One starts a command and talks to it, another takes it up by its id and talks on. */
    async attach(r, answer) {
        const [program, args, options] = r.command();
        const [first, second, offset] = [r.bytes('first'), r.bytes('second'), r.number('offset')];
        const child = await this.box.spawn(program, args, { ...options, stdin: 'keep' });
        const before = new Output(child.stdout, r.text('err'));
        child.stdin.write(first);
        await before.readWhile(() => before.received < offset);
        const again = await this.runtime.get(this.box.id);
        const attached = await again.attach(child.id, { stdin: true, stdout: offset });
        const after = new Output(attached.stdout, r.text('out'));
        await before.readWhile();
        before.finish(answer, 'taken_over');
        attached.stdin.write(second);
        await attached.closeStdin(first.length + second.length);
        await after.readWhile();
        after.finish(answer, 'stdout');
        await tellWait(answer, attached);
        again.close();
    },

    /** A box of its own, of `image`, is started, and removed. */
    async start(r, answer) {
        const other = await attempt(answer, 'create', () => this.runtime.create({ image: r.text('image'), memoryMib: 256 }));
        if (!other) return;
        const abort = new AbortController();
        const onProgress = ({ stage, layers }) => {
            if (r.has('cancel') && stage === 'pull' && layers.some(({ doneBytes }) => doneBytes > 0)) abort.abort();
        };
        await attempt(answer, 'error', () => other.start({ signal: abort.signal, onProgress }));
        answer.status = (await other.info()).status;
        await attempt(answer, 'remove', () => this.runtime.remove(other.id, { force: true }));
        other.close();
    },

    async create(r, answer) {
        const options = { name: r.text('name'), image: r.text('image'), memoryMib: r.number('memory_mib', 256) };
        (await attempt(answer, 'error', () => this.runtime.create(options)))?.close();
    },

    async get(r, answer) {
        (await attempt(answer, 'error', () => this.runtime.get(r.text('name'))))?.close();
    },

    async remove(r, answer) {
        await attempt(answer, 'error', () => this.runtime.remove(r.text('name'), { force: r.number('force', 0) !== 0 }));
    },

    async copy_in(r, answer) {
        await this.copy(r, answer, 'copyIn', 'host', 'box');
    },

    async copy_out(r, answer) {
        await this.copy(r, answer, 'copyOut', 'box', 'host');
    },

    async read_file(r, answer) {
        const maxBytes = r.number('max', 1 << 20);
        const content = await attempt(answer, 'error', () => this.box.readFile(r.bytes('box'), { maxBytes }));
        if (content !== undefined) fs.writeFileSync(r.text('out'), content);
    },

    async write_file(r, answer) {
        await attempt(answer, 'error', () => this.box.writeFile(r.bytes('box'), r.input()));
    },

    async stop(r, answer) {
        await attempt(answer, 'error', () => this.box.stop());
    },

    async reopen(r, answer) {
        const again = await attempt(answer, 'error', () => this.runtime.get(this.box.id));
        if (!again) return;
        this.box.close();
        this.box = again;
    },

    async rounds(r, answer) {
        const [program, args] = r.command();
        answer.failed = 0;
        for (let left = r.number('count'); left > 0; left -= 1) {
            const { exitCode } = await this.box.exec(program, args, { reject: false });
            answer.failed += Number(exitCode !== 0);
        }
    },

    async measure(r, answer) {
        // Handles that were forgotten go with the second collection.
        for (let i = 0; i < 2; i += 1) {
            global.gc();
            await sleep(1);
        }
        answer.resident_kib = Number(/^VmRSS:\s+(\d+)/m.exec(fs.readFileSync('/proc/self/status', 'utf8'))[1]);
        answer.descriptors = fs.readdirSync('/proc/self/fd').length;
        answer.threads = fs.readdirSync('/proc/self/task').length;
    },
};

const [home, image, registry] = process.argv.slice(2);
const runtime = await Runtime.open({ home, registries: [{ host: registry, transport: 'http' }] });
const driver = new Driver(runtime, await runtime.create({ name: 'shared', image, memoryMib: 256 }));
for await (const line of readline.createInterface({ input: process.stdin })) {
    fs.writeSync(1, `${JSON.stringify(await driver.perform(new Request(line)))}\n`);
}
await runtime.shutdown();
driver.box.close();
runtime.close();
