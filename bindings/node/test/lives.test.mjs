// The life of a box: found or made by its name, measured, bounded; its end, waited for, and its logs.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, before, test } from 'node:test';
import { Runtime } from '../lib/index.mjs';
import { image, newHome, removeHome, text } from './support.mjs';

const home = newHome();
let runtime;
let box;
const small = { image, memoryMib: 256 };
const failure = (promise) => promise.then(() => assert.fail('there is no error'), (error) => error);
const code = async (promise) => (await failure(promise)).code;

before(async () => {
    runtime = await Runtime.open({ home, spares: 0 });
    box = await runtime.getOrCreate({ ...small, name: 'one', pidsMax: 16, cpuMillis: 500, maxOpenFiles: 99 });
});
after(async () => {
    await runtime.shutdown();
    await removeHome(home);
});

test('of many who want a box of one name one makes it', async () => {
    assert.deepEqual([box.name, box.created], ['one', true]);
    const had = await Promise.all(Array.from({ length: 8 }, () => runtime.getOrCreate({ ...small, name: 'many', autoRemove: true })));
    assert.equal(had.filter(({ created }) => created).length, 1);
    assert.equal(new Set(had.map(({ id }) => id)).size, 1);
    const [found] = had.filter(({ created }) => !created);
    assert.equal((await runtime.get('many')).created, false);
    await found[Symbol.asyncDispose]();
    assert.equal(await code(runtime.getOrCreate({ name: 'a b' })), 'BOXLITE_INVALID_ARGUMENT');
    assert.equal((await runtime.create({ ...small, name: 'made' })).created, true);
    await Promise.all(['many', 'made'].map((name) => runtime.remove(name)));
});

test('a box that never ran has no end, no log, no figures', async () => {
    assert.equal(await code(box.wait()), 'BOXLITE_INVALID_STATE');
    assert.equal(await code(box.openLog('console')), 'BOXLITE_NOT_FOUND');
    assert.equal(await code(box.metrics()), 'BOXLITE_INVALID_STATE');
    const { boxesCreatedTotal, boxesRunning, commandsTotal } = await runtime.metrics();
    assert.deepEqual([boxesCreatedTotal >= 3, boxesRunning, commandsTotal], [true, 0, 0]);
});

test('figures count what is done, and processes and open files are bounded', async () => {
    await box.exec('true');
    await box.exec('no-such-program').catch(() => {});
    const many = await box.exec('sh', ['-c', 'for i in $(seq 40); do sleep 60 & done; echo all'], { reject: false });
    assert.deepEqual([many.stdout, /fork/.test(many.stderr)], ['', true]);
    const of = await box.metrics();
    assert.deepEqual([of.commandsTotal, of.commandErrorsTotal], [2, 1]);
    assert.ok(of.memoryBytes > 10 << 20 && of.bootMs > 0 && of.startMs >= of.bootMs && of.cpuMsTotal > 0, JSON.stringify(of));
    assert.ok(of.guestMemoryUsedBytes < of.guestMemoryTotalBytes && of.guestProcesses >= 1 && of.diskBytes > 0, JSON.stringify(of));
    const all = await runtime.metrics();
    assert.deepEqual([all.boxesRunning, all.commandsTotal, all.commandErrorsTotal], [1, 2, 1]);
    assert.equal(all.startsBootedTotal + all.startsClonedTotal, 1);
    assert.equal((await box.exec('sh', ['-c', 'ulimit -n'])).stdout, '99\n');
    assert.equal((await box.exec('cat', ['/sys/fs/cgroup/cpu.max'])).stdout, '50000 100000\n');
});

test('a wait is given up by its signal or its deadline, and the box goes on', async () => {
    const controller = new AbortController();
    const why = new Error('enough');
    const waiting = box.wait({ signal: controller.signal });
    setTimeout(() => controller.abort(why), 50);
    const error = await failure(waiting);
    assert.deepEqual([error.name, error.code, error.cause], ['AbortError', 'BOXLITE_CANCELLED', why]);
    assert.equal((await failure(box.wait({ signal: controller.signal }))).cause, why);
    const late = await failure(box.wait({ deadline: 50 }));
    assert.equal(late.code, 'BOXLITE_TIMEOUT');
    assert.match(late.stack, /lives\.test\.mjs/);
    assert.equal(await code(box.wait({ deadline: 0 })), 'BOXLITE_TIMEOUT');
    assert.equal((await failure(box.wait({ deadline: -1 }))).subject, 'deadline');
    assert.equal((await failure(box.wait({ onProgress() {} }))).subject, 'onProgress');
    assert.equal((await box.info()).status, 'running');
});

test('whoever waits is told of the end, through any object', async () => {
    const elsewhere = await Runtime.open({ home });
    const other = await elsewhere.get('one');
    const closed = await runtime.get('one');
    const waits = [box.wait(), other.wait({ deadline: 2 ** 40 }), closed.wait(), ...Array.from({ length: 64 }, () => box.wait())];
    closed.close();
    assert.equal(await code(closed.wait()), 'BOXLITE_INVALID_ARGUMENT');
    await box.stop();
    for (const end of await Promise.all(waits)) assert.equal(end.reason, 'stopped', end.message);
    assert.equal((await box.wait()).reason, 'stopped');
    assert.equal((await other.wait({ deadline: 600_000 })).reason, 'stopped');
    assert.equal(await code(box.metrics()), 'BOXLITE_STOPPED');
    await elsewhere.shutdown();
});

test('logs are there from the start to the removal', async () => {
    const log = await box.openLog('shim');
    assert.match(await text(log), /ready/);
    const unread = await box.openLog('console');
    unread.destroy();
    await once(unread, 'close');
    assert.equal((await failure(box.openLog('diary'))).subject, 'which');
    await runtime.remove('one');
    assert.equal(await code(box.openLog('shim')), 'BOXLITE_NOT_FOUND');
});

test('boxes end for other reasons, too: their time is up, they are idle, they are killed', async () => {
    const ends = [['lifetime', { maxLifetime: 3000 }], ['idle', { idleTimeout: 2000 }], ['killed', {}]];
    await Promise.all(ends.map(async ([reason, options]) => {
        const one = await runtime.create({ ...small, ...options });
        await one.start();
        const waiting = one.wait();
        if (reason === 'killed') process.kill((await one.info()).pid, 'SIGKILL');
        const end = await waiting;
        assert.deepEqual([end.reason, end.message.length > 0], [reason, true]);
    }));
    const subject = async (options) => (await failure(runtime.create(options))).subject;
    assert.equal(await subject({ maxLifetime: -1 }), 'maxLifetime');
    assert.equal(await subject({ idleTimeout: 1.5 }), 'idleTimeout');
    assert.equal(await subject({ pidsMax: -1 }), 'pidsMax');
    assert.equal(await subject({ cpuMillis: 256_001 }), 'millis');
});
