// Warm-up rounds, then as many rounds as are asked for: descriptors, threads and memory before and after, as JSON.
// Run with --expose-gc.

import fs from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { Runtime } from '../../lib/index.mjs';
import { image, text } from '../support.mjs';

const [home, warmUp, rounds] = process.argv.slice(2);
// Templates and spares are made at any time, and spares stay.
const runtime = await Runtime.open({ home, templateSpace: 0, spares: 0 });
const box = await runtime.create({ image, autoRemove: true });

async function round(index) {
    const { stdout } = await box.exec('echo', [String(index)]);
    if (stdout !== `${index}\n`) throw new Error(`round ${index} gave ${stdout}`);
    if (index % 10 === 0) {
        const child = await box.spawn('cat');
        child.stdin.end('x');
        if (await text(child.stdout) !== 'x') throw new Error(`round ${index}: cat`);
        await child.wait();
        await box.exec('false', { signal: new AbortController().signal }).catch(() => {});
        await box.wait({ deadline: 0 }).catch(() => {});
        await box.metrics();
        (await box.openLog('shim')).destroy();
    }
}

async function measure() {
    // Threads without work end after a second; forgotten handles with the second collection.
    for (let i = 0; i < 2; i += 1) {
        global.gc();
        await sleep(1500);
    }
    const resident = Number(/^VmRSS:\s+(\d+)/m.exec(fs.readFileSync('/proc/self/status', 'utf8'))[1]);
    return {
        descriptors: fs.readdirSync('/proc/self/fd').length,
        threads: fs.readdirSync('/proc/self/task').length,
        resident,
    };
}

for (let i = 0; i < Number(warmUp); i += 1) await round(i);
const before = await measure();
for (let i = 0; i < Number(rounds); i += 1) await round(i);
// What the first rounds set off in the background may end at any time: only more than before is growth, and only when it
// stays.
let after = await measure();
for (let i = 0; i < 5 && (after.descriptors > before.descriptors || after.threads > before.threads); i += 1) {
    after = await measure();
}
await runtime.shutdown();
console.log(JSON.stringify({ before, after }));
