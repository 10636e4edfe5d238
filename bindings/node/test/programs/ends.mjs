// ends.mjs KIND MANNER HOME IMAGE DELAY [REGISTRY]: in the middle of work of a kind (pull, exec), its worker thread is
// terminated or the process exits, after so many milliseconds. Ends with code 7.

import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Worker, isMainThread, parentPort, workerData } from 'node:worker_threads';
import { Runtime } from '../../lib/index.mjs';

const CODE = 7;

/** Never returns; `begun` is called when the work is under way. */
async function work([kind, , home, image, , host], begun) {
    const runtime = await Runtime.open({ home, registries: host === undefined ? [] : [{ host, transport: 'http' }] });
    const box = await runtime.create({ image, autoRemove: true });
    if (kind === 'pull') {
        await box.start({ onProgress: ({ stage }) => stage === 'pull' && begun() });
        throw new Error('the pull ended');
    }
    const child = await box.spawn('sh', ['-c', 'while :; do echo line; done']);
    const ended = box.exec('sleep', ['1000']);
    begun();
    for await (const line of child) if (line !== 'line') throw new Error(line);
    await ended;
}

if (isMainThread) {
    const args = process.argv.slice(2);
    const [, manner, home, , delay] = args;
    if (manner === 'exit') {
        await work(args, () => { setTimeout(() => process.exit(CODE), Number(delay)); });
    } else {
        const worker = new Worker(fileURLToPath(import.meta.url), { workerData: args });
        await once(worker, 'message');
        await sleep(Number(delay));
        await worker.terminate();
        // The addon is as good as before for this thread.
        const runtime = await Runtime.open({ home });
        await runtime.list();
        await runtime.shutdown();
        process.exitCode = CODE;
    }
} else {
    let told = false;
    await work(workerData, () => {
        if (!told) parentPort.postMessage('begun');
        told = true;
    });
}
