// Commands that run, and their streams.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { pipeline } from 'node:stream/promises';
import { Readable } from 'node:stream';
import { createHash, randomBytes } from 'node:crypto';
import { after, before, test } from 'node:test';
import { Runtime } from '../lib/index.mjs';
import { image, oneBox, text, until } from './support.mjs';

const shared = await oneBox(before, after);

test('stdin, stdout and stderr are streams of their own', async () => {
    const child = await shared.box.spawn('sh', ['-c', 'cat; echo done >&2; exit 4']);
    const events = [];
    child.on('exit', (...how) => events.push('exit', ...how));
    child.on('close', (...how) => events.push('close', ...how));
    child.stdin.write('first ');
    child.stdin.end('last');
    const [out, err] = await Promise.all([text(child.stdout), text(child.stderr)]);
    assert.deepEqual([out, err], ['first last', 'done\n']);
    assert.deepEqual(await child.wait(), { exitCode: 4, signal: null, timedOut: false, oomKilled: false });
    assert.deepEqual(events, ['exit', 4, null, 'close', 4, null]);
    assert.deepEqual([child.exitCode, child.signalCode], [4, null]);
});

test('ten megabytes come back as they went, through back pressure', async () => {
    const bytes = randomBytes(10_000_000);
    const child = await shared.box.spawn('cat');
    const hash = createHash('sha256');
    const chunks = Array.from({ length: 100 }, (_, index) => bytes.subarray(index * 100_000, (index + 1) * 100_000));
    await Promise.all([pipeline(Readable.from(chunks), child.stdin), pipeline(child.stdout, hash)]);
    assert.equal(hash.digest('hex'), createHash('sha256').update(bytes).digest('hex'));
    assert.equal(child.stdout.bytesRead, bytes.length);
    assert.equal((await child.wait()).exitCode, 0);
});

test('lines, whole characters, and an end without a newline', async () => {
    const child = await shared.box.spawn('sh', ['-c', "printf 'eins\\nzw\\303'; sleep 0.2; printf '\\266i\\r\\n\\n世界'; echo err >&2"]);
    const seen = [];
    for await (const line of child) seen.push(line);
    assert.deepEqual(seen, ['eins', 'zwöi', '', '世界']);
    for await (const line of child.lines('stderr')) assert.equal(line, 'err');
});

test('Web streams', async () => {
    const child = await shared.box.spawn('tr', ['a-z', 'A-Z']);
    const writer = child.web.stdin.getWriter();
    await writer.write(new TextEncoder().encode('shout'));
    const closed = writer.close();
    let out = '';
    for await (const chunk of child.web.stdout) out += new TextDecoder().decode(chunk);
    await closed;
    assert.equal(out, 'SHOUT');
    assert.equal((await child.wait()).exitCode, 0);
});

test('signals, kill, and a stdin that nobody reads', async () => {
    const trapped = await shared.box.spawn('sh', ['-c', 'trap "echo caught; exit 5" USR1; echo ready; while :; do sleep 0.05; done']);
    const lines = trapped.lines();
    assert.equal((await lines.next()).value, 'ready');
    await trapped.signal('SIGUSR1');
    assert.equal((await lines.next()).value, 'caught');
    assert.equal((await lines.next()).done, true);
    assert.equal((await trapped.wait()).exitCode, 5);
    await assert.rejects(trapped.signal('SIGNONSENSE'), { code: 'BOXLITE_INVALID_ARGUMENT', subject: 'signal' });

    const killed = await shared.box.spawn('sh', ['-c', 'setsid sleep 1000 & sleep 1000']);
    await killed.kill();
    assert.deepEqual([(await killed.wait()).signal, killed.signalCode], ['SIGKILL', 'SIGKILL']);

    const deaf = await shared.box.spawn('sh', ['-c', 'exec <&-; echo closed; sleep 1000']);
    await deaf.lines().next();
    deaf.stdin.write(randomBytes(1_000_000));
    const [error] = await once(deaf.stdin, 'error');
    assert.ok(['EPIPE', 'ECONNRESET'].includes(error.code), String(error));
    await deaf[Symbol.asyncDispose]();
    assert.equal(deaf.signalCode, 'SIGKILL');
});

test('a terminal is one stream, with a size', async () => {
    const child = await shared.box.spawn('sh', ['-c', 'stty -echo; stty size; read line; stty size; cat'], { tty: { rows: 33, cols: 99 } });
    assert.equal(child.stdout, child.tty);
    const lines = child.lines();
    assert.equal((await lines.next()).value, '33 99');
    await child.resize(44, 111);
    child.stdin.write('\n');
    assert.equal((await lines.next()).value, '44 111');
    child.stdin.end('typed\n');
    assert.equal((await lines.next()).value, 'typed');
    assert.equal((await lines.next()).done, true);
    assert.equal((await child.wait()).exitCode, 0);
});

test('a running command is taken up by its id, from an offset, and is taken over', async () => {
    const first = await shared.box.spawn('sh', ['-c', 'printf 0123456789; cat'], { stdin: 'keep' });
    const begin = first.lines();
    const reading = begin.next();
    while ((await first.streamState('stdout')).total < 10) { /* not written yet */ }
    const runtime = await Runtime.open({ home: shared.home });
    const box = await runtime.get(shared.box.id);
    const second = await box.attach(first.id, { stdin: true, stdout: true });
    assert.equal(second.id, first.id);
    // Who had it before has not had all: an error, no short success.
    await assert.rejects(reading, { code: 'BOXLITE_EXECUTION', message: /cut off after \d+ bytes/ });
    second.stdin.write('ab');
    await second.closeStdin(2);
    const got = await text(second.stdout);
    assert.equal('0123456789ab'.slice(-got.length), got);
    assert.equal((await second.wait()).exitCode, 0);
    assert.equal((await first.wait()).exitCode, 0);
    const third = await box.attach(first.id);
    assert.deepEqual([third.stdin, third.stdout, (await third.wait()).exitCode], [null, null, 0]);
    await assert.rejects(box.attach('nonsense'), { code: 'BOXLITE_NOT_FOUND' });
    assert.ok((await box.executions()).some((one) => one.id === first.id && one.exit.exitCode === 0 && one.args[0] === 'sh'));
    box.close();
    await runtime.shutdown();
});

test('half of a stream that was taken over never looks whole', async () => {
    const first = await shared.box.spawn('sh', ['-c', 'printf 0123456789; read line; printf abcdefghij'], { stdin: 'keep' });
    const earlier = first.stdout[Symbol.asyncIterator]();
    assert.equal(String((await earlier.next()).value), '0123456789');
    const second = await shared.box.attach(first.id, { stdin: true, stdout: true });
    second.stdin.end('go\n');
    assert.equal(await text(second.stdout), 'abcdefghij');
    assert.equal((await second.wait()).exitCode, 0);
    await assert.rejects(earlier.next(), { code: 'BOXLITE_EXECUTION', message: /after 10 bytes: somebody else has taken/ });
    const state = await first.streamState('stdout');
    assert.deepEqual(state, { first: 0, total: 20, dropped: 0, closed: true, takenOver: true });
    const [listed] = (await shared.box.executions()).filter((one) => one.id === first.id);
    const { stdin, stdout, stderr, mergeStderr, taken } = listed;
    assert.deepEqual([stdin, stdout, stderr, mergeStderr], ['keep', 'pipe', 'pipe', false]);
    assert.deepEqual({ ...taken, stderr: false }, { stdin: false, stdout: false, stderr: false });
});

test('output that was kept is there for an attach', async () => {
    const child = await shared.box.spawn('sh', ['-c', 'echo kept; echo lost >&2'], { stdout: 'retain', stderr: 'ignore' });
    assert.deepEqual([child.stdout, child.stderr], [null, null]);
    await child.wait();
    assert.equal(await text((await shared.box.attach(child.id, { stdout: true })).stdout), 'kept\n');
    assert.equal(await text((await shared.box.attach(child.id, { stdout: 2 })).stdout), 'pt\n');
});

test('output that nobody reads holds up neither the end nor a forgotten command', async () => {
    const child = await shared.box.spawn('sh', ['-c', 'yes | head -c 300000']);
    child.unref().ref();
    child.stdout.destroy();
    assert.equal((await child.wait()).exitCode, 0);
    const late = await shared.box.spawn('echo', ['later']);
    await late.wait();
    assert.equal(await text(late.stdout), 'later\n');
});

test('an aborted spawn leaves no process', async () => {
    const before = (await shared.box.executions()).length;
    for (let i = 0; i < 10; i += 1) {
        const controller = new AbortController();
        const begun = shared.box.spawn('sleep', ['1000'], { signal: controller.signal });
        setTimeout(() => controller.abort(), i * 2);
        const child = await begun.catch((error) => assert.equal(error.name, 'AbortError'));
        await child?.[Symbol.asyncDispose]();
    }
    // The box's agent is told to end them, and does so in its own time.
    const left = async () => (await shared.box.executions()).slice(before).some((one) => one.exit === null);
    await until('all have ended', async () => !await left());
});

test('a stream that is cut ends with an error, never short', async () => {
    const box = await shared.runtime.create({ image, autoRemove: true });
    const child = await box.spawn('sh', ['-c', 'yes | head -c 256000000']);
    const { pid } = await box.info();
    let bytes = 0;
    await assert.rejects(async () => {
        for await (const chunk of child.stdout) {
            bytes += chunk.length;
            if (bytes > 5_000_000 && bytes - chunk.length <= 5_000_000) process.kill(pid, 'SIGKILL');
        }
    }, { code: 'BOXLITE_EXECUTION', message: /cut off after \d+ bytes/ });
    assert.ok(bytes > 5_000_000 && bytes < 256_000_000, `${bytes} bytes`);
    await assert.rejects(child.wait(), { code: 'BOXLITE_STOPPED' });
});
