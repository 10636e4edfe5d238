// Homes for tests, and what must be gone after them.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Runtime } from '../lib/index.mjs';

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
    for (let waited = 0; waited < 300; waited += 1) {
        if (atWork(home).length === 0) return;
        await sleep(100);
    }
    assert.deepEqual(atWork(home), [], 'a box is left');
}

export async function removeHome(home) {
    await untilIdle(home);
    fs.rmSync(home, { recursive: true });
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

export async function text(stream) {
    const chunks = [];
    for await (const chunk of stream) chunks.push(chunk);
    return Buffer.concat(chunks).toString();
}
