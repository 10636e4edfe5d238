// Many commands at once, and a file read again and again meanwhile. Run with UV_THREADPOOL_SIZE=1: nothing of boxlite's
// may be on that one thread. Prints { all, slowest } in milliseconds.

import fs from 'node:fs/promises';
import { performance } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { Runtime } from '../../lib/index.mjs';
import { image } from '../support.mjs';

const [home, count, seconds] = process.argv.slice(2);
const runtime = await Runtime.open({ home });
const box = await runtime.create({ image });
await box.start();

let running = false;
let slowest = 0;
async function read() {
    const start = performance.now();
    await fs.readFile(process.argv[1]);
    return performance.now() - start;
}
async function readOn() {
    while (running) {
        slowest = Math.max(slowest, await read());
        await sleep(20);
    }
}

// Whoever waits for the box waits without a thread, too.
const ends = Array.from({ length: Number(count) }, () => box.wait());

// Both ways: to the end, and with streams.
const start = performance.now();
running = true;
const reader = readOn();
await Promise.all(Array.from({ length: Number(count) }, async (_, index) => {
    if (index % 2 === 0) {
        await box.exec('sleep', [seconds]);
    } else {
        const child = await box.spawn('sleep', [seconds]);
        await child.wait();
    }
}));
const all = performance.now() - start;
running = false;
await reader;
await runtime.shutdown();
for (const { reason } of await Promise.all(ends)) if (reason !== 'stopped') throw new Error(reason);
console.log(JSON.stringify({ all, slowest }));
