// ends.mjs KIND MANNER HOME IMAGE DELAY REGISTRY|FILE: in the middle of work of a kind (pull, exec, copy), its worker thread
// is terminated or the process exits, after so many milliseconds. Ends with code 7.

import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Worker, isMainThread, parentPort, workerData } from 'node:worker_threads';
import { Runtime } from '../../lib/index.mjs';

const CODE = 7;

/** Never returns; `begun` is called when the work is under way. */
async function work([kind, , home, image, , other], begun) {
    const registries = kind === 'pull' ? [{ host: other, transport: 'http' }] : [];
    const runtime = await Runtime.open({ home, registries });
    const box = await runtime.create({ image, autoRemove: true });
    if (kind === 'pull') {
        const options = { onProgress: ({ stage }) => stage === 'pull' && begun() };
        // Both ways to one pull.
        await Promise.any([box.start(options), runtime.images.pull(image, options)]);
        throw new Error('the pull ended');
    }
    if (kind === 'copy') {
        await box.start();
        const copies = [box.copyIn(other, '/large'), box.copyOut('/bin', `${home}/out`), box.wait()];
        begun();
        await copies[0];
        await Promise.all(copies);
        throw new Error('the box ended');
    }
    const child = await box.spawn('sh', ['-c', 'while :; do echo line; done']);
    const ended = [box.exec('sleep', ['1000']), box.wait()];
    begun();
    for await (const line of child) if (line !== 'line') throw new Error(line);
    await Promise.all(ended);
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
