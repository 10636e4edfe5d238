// A worker thread that is terminated, or a process that exits, in the middle of its work: no crash, no box left.
// END_ROUNDS says how often (3).

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Runtime } from '../lib/index.mjs';
import { image, newHome, removeHome, untilIdle } from './support.mjs';

const program = fileURLToPath(new URL('./programs/ends.mjs', import.meta.url));
const rounds = Number(process.env.END_ROUNDS ?? 3);

/** A registry with the test image, whose layer never comes to its end. */
const registry = http.createServer((request, response) => {
    const layout = image.replace(/^oci:/, '');
    const blob = (digest) => path.join(layout, 'blobs', digest.replace(':', '/'));
    const [{ digest, mediaType }] = JSON.parse(fs.readFileSync(path.join(layout, 'index.json'))).manifests;
    const [, kind, name] = /\/(manifests|blobs)\/(.+)$/.exec(request.url) ?? [];
    if (kind === undefined) {
        response.end('{}');
    } else if (kind === 'manifests') {
        response.writeHead(200, { 'content-type': mediaType, 'docker-content-digest': digest }).end(fs.readFileSync(blob(digest)));
    } else {
        const bytes = fs.readFileSync(blob(name));
        const whole = bytes.length < 20_000;
        response.writeHead(200, { 'content-length': bytes.length }).write(bytes.subarray(0, whole ? bytes.length : bytes.length / 2));
        if (whole) response.end();
    }
});
before(() => new Promise((resolve) => { registry.listen(0, '127.0.0.1', resolve); }));
after(() => {
    registry.closeAllConnections();
    registry.close();
});

// Most of a round is waiting for a box to go.
describe('in the middle', { concurrency: 4 }, () => {
    for (const kind of ['pull', 'exec']) {
        for (const manner of ['terminate', 'exit']) {
            test(`of ${kind}: ${manner}`, async () => {
                for (let round = 0; round < rounds; round += 1) {
                    const home = newHome();
                    const delay = String(Math.floor(Math.random() * 300));
                    const host = `127.0.0.1:${registry.address().port}`;
                    const args = [program, kind, manner, home, ...(kind === 'pull' ? [`${host}/busybox`, delay, host] : [image, delay])];
                    const child = spawn(process.execPath, args, { stdio: ['ignore', 'inherit', 'inherit'] });
                    assert.deepEqual(await once(child, 'exit'), [7, null], `round ${round}, after ${delay} ms`);
                    await untilIdle(home);
                    const runtime = await Runtime.open({ home });
                    assert.deepEqual(await runtime.list(), [], `round ${round}, after ${delay} ms`);
                    await runtime.shutdown();
                    await removeHome(home);
                }
            });
        }
    }
});
