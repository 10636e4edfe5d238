// A worker thread that is terminated, or a process that exits, in the middle of its work: no crash, no box left.
// END_ROUNDS says how often (3).

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Runtime } from '../lib/index.mjs';
import { image, newHome, removeHome, startRegistry, untilIdle } from './support.mjs';

const program = fileURLToPath(new URL('./programs/ends.mjs', import.meta.url));
const rounds = Number(process.env.END_ROUNDS ?? 3);

// A layer that never comes to its end, and a file that takes longer to copy than anything below.
let registry;
const large = path.join(os.tmpdir(), `boxlite-node-ends-${process.pid}`);
before(async () => {
    registry = await startRegistry({ endless: true });
    const file = fs.openSync(large, 'w');
    for (let chunk = Buffer.alloc(1 << 22, 7), i = 0; i < 64; i += 1) fs.writeSync(file, chunk);
    fs.closeSync(file);
});
after(async () => {
    fs.rmSync(large);
    await registry.stop();
});

// Most of a round is waiting for a box to go.
describe('in the middle', { concurrency: 6 }, () => {
    for (const kind of ['pull', 'exec', 'copy']) {
        for (const manner of ['terminate', 'exit']) {
            test(`of ${kind}: ${manner}`, async () => {
                for (let round = 0; round < rounds; round += 1) {
                    const home = newHome();
                    const delay = String(Math.floor(Math.random() * 300));
                    const { host } = registry;
                    const args = [program, kind, manner, home, ...(kind === 'pull' ? [`${host}/busybox`, delay, host] : [image, delay, large])];
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
