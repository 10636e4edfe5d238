// Images: pulled ahead, found, listed, removed, pruned; with docker's logins, from mirrors.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { Runtime } from '../lib/index.mjs';
import { image, newHome, removeHome, startRegistry } from './support.mjs';

const home = newHome();
const config = path.join(home, 'config.json');
let open;
let closed;
let endless;
let runtime;
const failure = (promise) => promise.then(() => assert.fail('there is no error'), (error) => error);
const registries = () => [open, closed, endless].map(({ host }) => ({ host, transport: 'http' }));

before(async () => {
    [open, closed, endless] = await Promise.all([
        startRegistry(), startRegistry({ login: 'ann:secret' }), startRegistry({ endless: true }),
    ]);
    const auth = Buffer.from('ann:secret').toString('base64');
    fs.writeFileSync(config, JSON.stringify({ auths: { [closed.host]: { auth } } }));
    runtime = await Runtime.open({ home, registries: registries(), dockerConfig: config });
});
after(async () => {
    await runtime.shutdown();
    await Promise.all([open, closed, endless].map((one) => one.stop()));
    await removeHome(home);
});

test('an image is pulled, found, listed, removed', async () => {
    const { images } = runtime;
    assert.deepEqual(await images.list(), []);
    const reports = [];
    const pulled = await images.pull(`${open.host}/library/busybox:1`, { onProgress: (report) => reports.push(report) });
    assert.deepEqual([pulled.repository, pulled.tag], [`${open.host}/library/busybox`, '1']);
    assert.match(`${pulled.digest} ${pulled.configDigest}`, /^sha256:[0-9a-f]{64} sha256:[0-9a-f]{64}$/);
    assert.ok(pulled.layers.length > 0 && pulled.sizeBytes > 100_000 && Date.now() - pulled.storedAt < 600_000);
    const last = reports.at(-1);
    assert.equal(last.stage, 'done');
    assert.ok(last.layers.every(({ doneBytes, totalBytes }) => doneBytes === totalBytes && totalBytes > 0), JSON.stringify(last));

    for (const name of [pulled.reference, pulled.digest, pulled.configDigest]) assert.deepEqual(await images.get(name), pulled);
    assert.deepEqual(await images.list(), [pulled]);
    assert.equal((await failure(images.get('nobody/has:this'))).code, 'BOXLITE_NOT_FOUND');
    assert.equal((await failure(images.pull('NOT a reference'))).code, 'BOXLITE_INVALID_ARGUMENT');
    assert.equal((await failure(images.pull(7))).subject, 'reference');
    assert.equal((await failure(images.remove(pulled.digest, { colour: 1 }))).subject, 'colour');
    await images.remove(pulled.reference);
    assert.deepEqual(await images.list(), []);
});

test('what boxes need stays, what nobody needs goes', async () => {
    const { images } = runtime;
    const { reference } = await images.pull(`${open.host}/busybox`);
    const box = await runtime.create({ image: reference });
    assert.deepEqual(await images.prune(), { items: [], totalBytes: 0 });
    await runtime.remove(box.id);
    for (const dryRun of [true, false]) {
        const { items: [item, ...more], totalBytes } = await images.prune({ dryRun });
        assert.deepEqual([item.kind, item.name, more], ['image', reference, []]);
        assert.ok(item.bytes > 0 && item.bytes === totalBytes);
    }
    assert.deepEqual(await images.prune({ dryRun: true }), { items: [], totalBytes: 0 });
    await images.pull(image);
    await images.remove(image, { force: true });
});

test('a pull is aborted, or runs out of time', async () => {
    const controller = new AbortController();
    const error = await failure(runtime.images.pull(`${endless.host}/busybox`, {
        signal: controller.signal,
        onProgress: ({ stage }) => stage === 'pull' && controller.abort('enough'),
    }));
    assert.deepEqual([error.name, error.code, error.cause], ['AbortError', 'BOXLITE_CANCELLED', 'enough']);
    assert.equal((await failure(runtime.images.pull(`${endless.host}/busybox`, { deadline: 200 }))).code, 'BOXLITE_TIMEOUT');
    assert.deepEqual(await runtime.images.list(), []);
});

test("docker's logins are used, unless they are not wanted", async () => {
    const wanted = `${closed.host}/private/busybox`;
    assert.equal((await runtime.images.pull(wanted)).repository, wanted);
    const other = await Runtime.open({ home, registries: registries(), dockerConfig: '' });
    const refused = await failure(other.images.pull(wanted));
    assert.equal(refused.code, 'BOXLITE_NETWORK');
    assert.match(refused.hint, /credentials/);
    await other.shutdown();
});

test('a mirror is asked first; what is none, or no authority, is refused', async () => {
    const reach = (mirrors, more) => Runtime.open({
        home, dockerConfig: '', registries: [{ host: 'registry.invalid', mirrors }, { host: open.host, transport: 'http' }], ...more,
    });
    const mirrored = await reach(['127.0.0.1:1', open.host]);
    const { repository } = await mirrored.images.pull('registry.invalid/mirrored/busybox');
    assert.equal(repository, 'registry.invalid/mirrored/busybox');
    await mirrored.shutdown();
    assert.equal((await failure(reach(['ftp://there']))).subject, 'ftp://there');
    assert.match((await failure(reach('there'))).message, /mirrors/);
    const error = await failure(reach([], { caFiles: [config] }));
    assert.deepEqual([error.code, error.subject], ['BOXLITE_CONFIG', config]);
});
