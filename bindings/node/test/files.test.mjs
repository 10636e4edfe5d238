// Files into a box and out of it: trees, archives, bytes; what is refused, and what is cut off.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { Runtime } from '../lib/index.mjs';
import { image, newHome, oneBox, removeHome } from './support.mjs';

const shared = await oneBox(before, after);
const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'boxlite-node-files-'));
after(() => fs.rmSync(dir, { recursive: true }));

const host = (name) => path.join(dir, name);
const bytes = Buffer.from('\0two\xff\n\0', 'latin1');
const odd = Buffer.from(`${dir}/tree/sub dir/\xff`, 'latin1');
const failure = (promise) => promise.then(() => assert.fail('there is no error'), (error) => error);
const about = async (promise) => {
    const { code, subject, hint } = await failure(promise);
    assert.ok(hint.length > 0);
    return `${code} ${subject}`;
};

test('a tree goes in and comes back as it was', async () => {
    const { box } = shared;
    fs.mkdirSync(host('tree/sub dir/empty'), { recursive: true });
    fs.writeFileSync(host('tree/one'), 'one', { mode: 0o751 });
    fs.writeFileSync(odd, bytes);
    fs.symlinkSync('one', host('tree/link'));
    const stages = [];
    await box.copyIn(host('tree'), '/new/tree', { onProgress: ({ stage }) => stages.push(stage) });
    assert.ok(stages.includes('boot'), stages.join());
    assert.equal((await box.exec('sh', ['-c', 'cd /new/tree; readlink link; cat one'])).stdout, 'one\none');

    await box.copyOut('/new/tree', host('back'));
    assert.equal(fs.readFileSync(host('back/one'), 'utf8'), 'one');
    assert.equal(fs.statSync(host('back/one')).mode & 0o777, 0o751);
    assert.deepEqual(fs.readFileSync(Buffer.from(`${dir}/back/sub dir/\xff`, 'latin1')), bytes);
    assert.deepEqual(fs.readdirSync(host('back/sub dir/empty')), []);
    assert.equal(fs.readlinkSync(host('back/link')), 'one');

    // Into what exists: what it holds, then under its own name.
    await box.copyOut('/new/tree', host('back'), { includeParent: false, followSymlinks: true });
    assert.ok(fs.lstatSync(host('back/link')).isFile() && !fs.existsSync(host('back/tree')));
    await box.copyOut('/new/tree', host('back'));
    assert.equal(fs.readFileSync(host('back/tree/one'), 'utf8'), 'one');

    const taken = 'BOXLITE_ALREADY_EXISTS /new/tree/one';
    assert.equal(await about(box.copyIn(host('tree/one'), '/new/tree/one', { overwrite: false })), taken);
    const refused = await failure(box.copyIn(host('tree'), '/refused', { recursive: false }));
    assert.equal(refused.code, 'BOXLITE_INVALID_ARGUMENT');
});

test('a file is its bytes, whatever they are', async () => {
    const { box } = shared;
    await box.writeFile('/etc/new/file', bytes, { mode: 0o640 });
    const back = await box.readFile('/etc/new/file', { maxBytes: bytes.length });
    assert.ok(Buffer.isBuffer(back));
    assert.deepEqual(back, bytes);
    assert.equal((await box.exec('stat', ['-c', '%a', '/etc/new/file'])).stdout, '640\n');
    assert.equal(await about(box.readFile('/etc/new/file', { maxBytes: bytes.length - 1 })), 'BOXLITE_RESOURCE_EXHAUSTED /etc/new/file');

    await box.writeFile('/etc/new/file', 'a\0ü');
    assert.equal((await box.readFile('/etc/new/file')).toString(), 'a\0ü');
    await box.writeFile('/etc/new/file', new Uint8Array());
    assert.equal((await box.readFile('/etc/new/file', { maxBytes: 0 })).length, 0);
    assert.equal((await box.exec('stat', ['-c', '%a', '/etc/new/file'])).stdout, '644\n');

    // The bytes are those of the moment it was called.
    const large = Buffer.alloc(9_000_000, 'x');
    const written = box.writeFile('/large', large);
    large.fill('y');
    await written;
    assert.ok((await box.readFile('/large')).equals(Buffer.alloc(9_000_000, 'x')));
});

test('archives go by descriptor', async () => {
    const { box } = shared;
    const archive = host('a.tar');
    const out = fs.openSync(archive, 'w');
    await box.copyOutTar('/etc/passwd', out);
    fs.closeSync(out);
    assert.equal(execFileSync('tar', ['-tf', archive], { encoding: 'utf8' }), 'passwd\n');

    // The caller's descriptor may go at once.
    execFileSync('tar', ['-cf', archive, '-C', dir, 'tree']);
    const from = fs.openSync(archive, 'r');
    const unpacked = box.copyInTar(from, '/from/tar');
    fs.closeSync(from);
    await unpacked;
    assert.equal((await box.exec('cat', ['/from/tar/tree/one'])).stdout, 'one');
    const taken = await failure((async () => {
        const again = fs.openSync(archive, 'r');
        await box.copyInTar(again, '/from/tar', { overwrite: false }).finally(() => fs.closeSync(again));
    })());
    assert.equal(taken.code, 'BOXLITE_ALREADY_EXISTS');
    assert.equal(await about(box.copyInTar(-1, '/x')), 'BOXLITE_INVALID_ARGUMENT fd');
    assert.equal(await about(box.copyOutTar('/etc', 1 << 20)), 'BOXLITE_INVALID_ARGUMENT fd');
});

test('what is missing is named, and what is misspelt', async () => {
    const { box, runtime } = shared;
    assert.equal(await about(box.copyIn(host('none'), '/x')), `BOXLITE_NOT_FOUND ${host('none')}`);
    assert.equal(await about(box.copyOut('/none', host('x'))), 'BOXLITE_NOT_FOUND /none');
    assert.equal(await about(box.copyOutTar('/none', 2)), 'BOXLITE_NOT_FOUND /none');
    assert.equal(await about(box.readFile('/none')), 'BOXLITE_NOT_FOUND /none');
    assert.ok(!fs.existsSync(host('x')));
    const wrong = 'BOXLITE_INVALID_ARGUMENT';
    assert.equal(await about(box.copyIn(dir, 7)), `${wrong} boxPath`);
    assert.equal(await about(box.copyOut('a\0b', dir)), `${wrong} boxPath`);
    assert.equal(await about(box.copyIn(dir, '/x', { colour: 1 })), `${wrong} colour`);
    assert.equal(await about(box.copyOutTar('/etc', 2, { overwrite: false })), `${wrong} overwrite`);
    assert.equal(await about(box.readFile('/etc/passwd', { maxBytes: -1 })), `${wrong} max_bytes`);
    assert.equal(await about(box.readFile('/etc/passwd', { maxBytes: 1.5 })), `${wrong} maxBytes`);
    assert.equal(await about(box.writeFile('/x', 7)), `${wrong} data`);
    assert.equal(await about(box.writeFile('/x', '', { mode: 0o10000 })), `${wrong} mode`);
    assert.equal(await about(box.writeFile('/x', '', { mode: 2 ** 40 })), `${wrong} mode`);
    assert.equal(await about(runtime.prepare({ name: 'x' })), `${wrong} name`);
});

test('a signal aborts a copy, and so does its deadline', async () => {
    const { box } = shared;
    // An archive that never comes.
    execFileSync('mkfifo', [host('silent')]);
    const fd = fs.openSync(host('silent'), 'r+');
    const controller = new AbortController();
    const why = new Error('enough');
    const copying = box.copyInTar(fd, '/silent', { signal: controller.signal });
    controller.abort(why);
    const error = await failure(copying);
    assert.deepEqual([error.name, error.code, error.cause], ['AbortError', 'BOXLITE_CANCELLED', why]);
    assert.equal((await failure(box.copyInTar(fd, '/silent', { deadline: 300 }))).code, 'BOXLITE_TIMEOUT');
    fs.closeSync(fd);

    // At whatever moment: a file is whole or not there.
    const large = Buffer.alloc(8_000_000, 1);
    for (let i = 0; i < 8; i += 1) {
        const cut = new AbortController();
        const writing = box.writeFile('/cut/file', large, { signal: cut.signal });
        setTimeout(() => cut.abort(), i * 15);
        await writing.catch((thrown) => assert.equal(thrown.name, 'AbortError'));
    }
    const read = await box.readFile('/cut/file').catch((thrown) => assert.equal(thrown.code, 'BOXLITE_NOT_FOUND'));
    assert.ok(read === undefined || read.equals(large));
});

test('a template is made ahead, where boxes have some and there is room', async (t) => {
    const home = newHome();
    const templates = () => {
        const place = path.join(home, 'templates');
        return fs.existsSync(place) ? fs.readdirSync(place).filter((name) => /^[0-9a-f]{32}$/.test(name)) : [];
    };
    const none = await Runtime.open({ home, templateSpace: 0 });
    await none.prepare({ memoryMib: 256 });
    assert.deepEqual(templates(), []);
    await none.shutdown();
    assert.equal((await failure(Runtime.open({ home, templateSpace: -1 }))).code, 'BOXLITE_INVALID_ARGUMENT');

    const runtime = await Runtime.open({ home });
    assert.equal(await about(runtime.prepare({ cpus: 4000 })), 'BOXLITE_INVALID_ARGUMENT cpus');
    const { detail } = (await runtime.systemCheck()).find(({ name }) => name === 'engine');
    const emulated = detail.startsWith('qemu-tcg');
    if (emulated) {
        const controller = new AbortController();
        const preparing = runtime.prepare({ memoryMib: 256, signal: controller.signal });
        controller.abort();
        assert.equal((await failure(preparing)).name, 'AbortError');
        assert.deepEqual(templates(), []);
    }
    // It is made at low priority, within a minute: a machine that is busy may not get there, and says so.
    const late = await runtime.prepare({ image, memoryMib: 256 }).catch((error) => error);
    if (late !== undefined) {
        assert.match(late.message, /^engine error: no template could be made: the agent did not answer/);
        t.diagnostic(late.message);
    }
    assert.equal(templates().length, emulated && late === undefined ? 1 : 0, detail);
    await runtime.shutdown();
    await removeHome(home);
});
