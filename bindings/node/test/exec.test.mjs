// Boxes, and commands run to their end.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { createRequire } from 'node:module';
import boxlite, { BoxliteError, ExitError, Runtime } from '../lib/index.mjs';
import { image, oneBox, until } from './support.mjs';

const shared = await oneBox(before, after, { name: 'one', labels: { suite: 'exec' }, env: { FROM_BOX: 'b', OVER: 'box' } });

test('the two kinds of module are one', () => {
    const required = createRequire(import.meta.url)('../lib/index.js');
    assert.equal(required.Runtime, Runtime);
    assert.equal(boxlite.Runtime, Runtime);
    assert.match(required.version, /^\d+\.\d+\.\d+$/);
    assert.ok(required.abiVersion >= 1);
});

test('a command gives its output, its code or its signal', async () => {
    const { box } = shared;
    const reports = [];
    const done = await box.exec('sh', ['-c', 'echo out; echo err >&2'], { onProgress: (report) => reports.push(report) });
    assert.deepEqual([done.stdout, done.stderr, done.exitCode, done.signal], ['out\n', 'err\n', 0, null]);
    const last = reports.at(-1);
    assert.ok(reports.some(({ stage }) => stage === 'boot') && last.stage === 'done', JSON.stringify(reports));
    assert.equal(last.reference, image);
    const [{ digest, doneBytes, totalBytes }] = last.layers;
    assert.ok(digest.startsWith('sha256:') && totalBytes > 0 && doneBytes === totalBytes, JSON.stringify(last));

    const failed = await box.exec('sh', ['-c', 'echo no >&2; exit 3']).catch((error) => error);
    assert.ok(failed instanceof ExitError);
    assert.deepEqual([failed.exitCode, failed.signal, failed.stderr], [3, null, 'no\n']);
    assert.equal(failed.message, 'sh exited with code 3\nno');

    const killed = await box.exec('sh', ['-c', 'kill -9 $$'], { reject: false });
    assert.deepEqual([killed.exitCode, killed.signal], [null, 'SIGKILL']);
});

test('what cannot be started is an error with the code of a shell', async () => {
    const missing = await shared.box.exec('no-such-program').catch((error) => error);
    assert.ok(missing instanceof BoxliteError);
    assert.deepEqual([missing.code, missing.exitCode, missing.subject], ['BOXLITE_EXECUTION', 127, 'no-such-program']);
    assert.ok(missing.hint.length > 0);
    assert.match(missing.stack, /exec\.test\.mjs/);
    const directory = await shared.box.exec('/tmp').catch((error) => error);
    assert.equal(directory.exitCode, 126);
});

test('text is UTF-8 and bytes are bytes, in and out', async () => {
    const { box } = shared;
    const words = 'grüße, 世界 🎉';
    assert.equal((await box.exec('cat', { input: words })).stdout, words);
    assert.equal((await box.exec('printf', ['%s', words])).stdout, words);
    const bytes = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));
    const echoed = await box.exec('cat', [], { input: bytes, encoding: 'buffer' });
    assert.deepEqual(echoed.stdout, bytes);
    const odd = Buffer.from('\xff\xfe', 'latin1');
    const passed = await box.exec('sh', ['-c', 'printf "%s$ODD" "$1"', 'sh', odd], { env: { ODD: odd }, encoding: 'buffer' });
    assert.deepEqual(passed.stdout, Buffer.concat([odd, odd]));
    assert.equal((await box.exec('printf', ['\\351'], { encoding: 'latin1' })).stdout, 'é');
});

test('environment, directory, user, limits', async () => {
    const { stdout } = await shared.box.exec('sh', ['-c', 'echo $FROM_BOX $OVER $HERE; pwd; id -u; ulimit -n'], {
        env: { OVER: 'command', HERE: 'h' },
        cwd: '/tmp',
        user: '1234:5678',
        limits: { openFiles: 77 },
    });
    assert.equal(stdout, 'b command h\n/tmp\n1234\n77\n');
});

test('a time limit of the command, a head of its output, one stream for both', async () => {
    const late = await shared.box.exec('sleep', ['1000'], { timeout: 300 }).catch((error) => error);
    assert.ok(late instanceof ExitError && late.timedOut && late.signal === 'SIGKILL', String(late));
    const long = await shared.box.exec('sh', ['-c', 'yes | head -c 100000'], { maxOutput: 10 });
    assert.deepEqual([long.stdout.length, long.stdoutTotal, long.stdoutTruncated], [10, 100000, true]);
    const merged = await shared.box.exec('sh', ['-c', 'echo 1; echo 2 >&2; echo 3'], { mergeStderr: true });
    assert.deepEqual([merged.stdout, merged.stderr], ['1\n2\n3\n', '']);
    const quiet = await shared.box.exec('sh', ['-c', 'echo 1'], { stdout: 'ignore' });
    assert.equal(quiet.stdout, '');
    const background = await shared.box.exec('sh', ['-c', 'sleep 1000 & echo hi; echo $!']);
    assert.ok(background.outputStillOpen);
    await shared.box.exec('kill', [background.stdout.split('\n')[1]]);
});

test('a signal aborts, and is let go of', async () => {
    const { box } = shared;
    const controller = new AbortController();
    let listeners = 0;
    const { signal } = controller;
    const add = signal.addEventListener.bind(signal);
    const remove = signal.removeEventListener.bind(signal);
    signal.addEventListener = (...args) => { listeners += 1; add(...args); };
    signal.removeEventListener = (...args) => { listeners -= 1; remove(...args); };
    await box.exec('true', { signal });
    assert.equal(listeners, 0);
    await box.exec('false', { signal }).catch(() => {});
    assert.equal(listeners, 0);

    const why = new Error('enough');
    const running = box.exec('sh', ['-c', 'echo begun; : >/tmp/begun; exec sleep 1000'], { signal });
    const hasBegun = () => box.readFile('/tmp/begun').then(() => true, (thrown) => {
        assert.equal(thrown.code, 'BOXLITE_NOT_FOUND');
        return false;
    });
    await until('the command has begun', hasBegun);
    controller.abort(why);
    const error = await running.catch((thrown) => thrown);
    assert.deepEqual([error.name, error.code, error.cause, error.stdout], ['AbortError', 'BOXLITE_CANCELLED', why, 'begun\n']);
    assert.equal(listeners, 0);
    const early = await box.exec('true', { signal }).catch((thrown) => thrown);
    assert.deepEqual([early.name, early.cause], ['AbortError', why]);

    const late = await box.exec('sleep', ['1000'], { deadline: 300 }).catch((thrown) => thrown);
    assert.equal(late.code, 'BOXLITE_TIMEOUT');
    await until('all commands have ended', async () => (await box.executions()).every((one) => one.exit !== null));
});

test('boxes are found, listed, told about, refused', async () => {
    const { box, runtime } = shared;
    const info = await box.info();
    assert.deepEqual([info.name, info.status, info.image, info.labels], ['one', 'running', image, { suite: 'exec' }]);
    assert.ok(info.pid > 0 && info.startedAt >= info.createdAt && info.stages.length > 0);
    assert.equal((await runtime.get('one')).id, box.id);
    const other = await runtime.create({ image, name: 'other', labels: { suite: 'other' } });
    assert.deepEqual((await runtime.list()).map((one) => one.name), ['other', 'one']);
    assert.deepEqual((await runtime.list({ labels: { suite: 'other' } })).map((one) => one.name), ['other']);
    assert.equal((await runtime.list({ labels: { suite: null } })).length, 2);
    const code = (promise) => promise.then(() => 'none', (error) => error.code);
    assert.equal(await code(runtime.create({ name: 'one' })), 'BOXLITE_ALREADY_EXISTS');
    assert.equal(await code(runtime.remove('one')), 'BOXLITE_INVALID_STATE');
    await runtime.remove('other');
    assert.equal(await code(runtime.get('other')), 'BOXLITE_NOT_FOUND');
    other.close();
    assert.equal(await code(other.info()), 'BOXLITE_INVALID_ARGUMENT');
    const check = await runtime.systemCheck();
    assert.ok(check.some((item) => item.name === 'kvm' && ['ok', 'warning', 'failed'].includes(item.status)));
});

test('what is wrong is named', async () => {
    const { box, runtime } = shared;
    const subject = (promise) => promise.then(() => 'none', (error) => `${error.code} ${error.subject}`);
    const wrong = 'BOXLITE_INVALID_ARGUMENT';
    assert.equal(await subject(box.exec('true', { colour: 1 })), `${wrong} colour`);
    assert.equal(await subject(box.exec('true', [1])), `${wrong} args`);
    assert.equal(await subject(box.exec('a\0b')), `${wrong} program`);
    assert.equal(await subject(box.exec('true', { env: { A: 7 } })), `${wrong} A`);
    assert.equal(await subject(box.exec('true', { timeout: 1.5 })), `${wrong} timeout`);
    assert.equal(await subject(box.exec('true', { encoding: 'klingon' })), `${wrong} encoding`);
    assert.equal(await subject(box.exec('true', { limits: { pids: -1 } })), `${wrong} pids`);
    assert.equal(await subject(box.spawn('true', { stdout: 'file' })), `${wrong} stdout`);
    assert.equal(await subject(runtime.create({ cpus: 4000 })), `${wrong} cpus`);
    assert.equal(await subject(runtime.create({ engine: 'steam' })), `${wrong} engine`);
    assert.equal(await subject(Runtime.open({ registries: [{}] })), `${wrong} registries`);
    assert.equal(await subject(Runtime.open({ registries: [{ host: 'h', transport: 'fax' }] })), `${wrong} transport`);
    assert.equal(await subject(box.exec('true', { deadline: -7 })), `${wrong} timeout_ms`);
});

test('disposing stops a box of one\'s own, and lets go of others', async () => {
    const { runtime } = shared;
    const made = await runtime.create({ image, name: 'disposed' });
    await made.exec('true');
    const found = await runtime.get('disposed');
    await found[Symbol.asyncDispose]();
    assert.equal((await made.info()).status, 'running');
    await made[Symbol.asyncDispose]();
    const again = await runtime.get('disposed');
    assert.equal((await again.info()).status, 'stopped');
    await runtime.remove('disposed');
});

test('a home is repaired', async () => {
    const report = await Runtime.repair({ home: shared.home });
    assert.deepEqual(report.keptAside, []);
    assert.ok(report.boxes.every((box) => box.outcome === 'kept'));
});
