// Homes for tests, and what must be gone after them.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import http from 'node:http';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Runtime } from '../lib/index.mjs';

// Tests may share their machine with whatever else is compiled there.
process.env.BOXLITE_BOOT_SECONDS ??= '300';

const root = fileURLToPath(new URL('../../../', import.meta.url));
export const image = process.env.BOXLITE_TEST_IMAGE ?? `oci:${root}target/test-images/busybox`;

export function newHome() {
    return fs.mkdtempSync(path.join(os.tmpdir(), 'boxlite-node-'));
}

/** Pids of processes at work in the home: a box's processes have its directory as their working directory. */
export function atWork(home) {
    return fs.readdirSync('/proc').filter((pid) => {
        try {
            return /^\d+$/.test(pid) && Number(pid) !== process.pid && fs.readlinkSync(`/proc/${pid}/cwd`).startsWith(home);
        } catch {
            return false;
        }
    });
}

/** Until no box of the home runs: boxes whose owner is gone take some seconds to end. */
export async function untilIdle(home) {
    for (let waited = 0; waited < 1800; waited += 1) {
        if (atWork(home).length === 0) return;
        await sleep(100);
    }
    assert.deepEqual(atWork(home), [], 'a box is left');
}

export async function removeHome(home) {
    await untilIdle(home);
    // A runtime that was shut down closes its database in the background, which may make a file anew meanwhile.
    fs.rmSync(home, { recursive: true, maxRetries: 40, retryDelay: 20 });
}

/** A runtime on a home of its own, and one box, for all tests of a file. */
export async function oneBox(before, after, options = {}) {
    const shared = {};
    before(async () => {
        shared.home = newHome();
        shared.runtime = await Runtime.open({ home: shared.home });
        shared.box = await shared.runtime.create({ image, autoRemove: true, ...options });
    });
    after(async () => {
        await shared.runtime.shutdown();
        await removeHome(shared.home);
    });
    return shared;
}

/**
 * A registry with the test image, on this machine. `endless`: its layer never comes to its end. `login`: "name:password",
 * without which nothing is given.
 */
export async function startRegistry({ endless = false, login } = {}) {
    const layout = image.replace(/^oci:/, '');
    const blob = (digest) => path.join(layout, 'blobs', digest.replace(':', '/'));
    const [{ digest, mediaType }] = JSON.parse(fs.readFileSync(path.join(layout, 'index.json'))).manifests;
    const wanted = login && `Basic ${Buffer.from(login).toString('base64')}`;
    const server = http.createServer((request, response) => {
        const [, kind, name] = /\/(manifests|blobs)\/(.+)$/.exec(request.url) ?? [];
        if (wanted !== request.headers.authorization) {
            response.writeHead(401, { 'www-authenticate': 'Basic realm="test"' }).end('{}');
        } else if (kind === undefined) {
            response.end('{}');
        } else if (kind === 'manifests') {
            response.writeHead(200, { 'content-type': mediaType, 'docker-content-digest': digest }).end(fs.readFileSync(blob(digest)));
        } else {
            const bytes = fs.readFileSync(blob(name));
            const whole = !endless || bytes.length < 20_000;
            response.writeHead(200, { 'content-length': bytes.length }).write(bytes.subarray(0, whole ? bytes.length : bytes.length / 2));
            if (whole) response.end();
        }
    });
    await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });
    return {
        host: `127.0.0.1:${server.address().port}`,
        stop() {
            server.closeAllConnections();
            return new Promise((resolve) => { server.close(resolve); });
        },
    };
}

/** Until a condition holds, however busy the machine is. */
export async function until(what, is) {
    for (const end = Date.now() + 120_000; !await is();) {
        assert.ok(Date.now() < end, `never: ${what}`);
        await sleep(10);
    }
}

export async function text(stream) {
    const chunks = [];
    for await (const chunk of stream) chunks.push(chunk);
    return Buffer.concat(chunks).toString();
}
