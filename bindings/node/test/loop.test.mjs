// The event loop and libuv's pool stay the program's own.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { newHome, removeHome } from './support.mjs';

const program = fileURLToPath(new URL('./programs/sleepers.mjs', import.meta.url));
const SECONDS = 8;
const MOST_FOR_A_READ = 100;

test('64 commands wait without a thread of the pool', async (context) => {
    const home = newHome();
    const env = { ...process.env, UV_THREADPOOL_SIZE: '1' };
    const { stdout } = await promisify(execFile)(process.execPath, [program, home, '64', String(SECONDS)], { env });
    const { all, slowest } = JSON.parse(stdout);
    context.diagnostic(`all done after ${Math.round(all)} ms, slowest readFile ${Math.round(slowest)} ms`);
    // Were they on the pool, a read would wait for 8 seconds, and all of them would take 512. On a machine that is busy
    // with other things, starting 64 processes in a box takes its time.
    assert.ok(slowest < (process.env.BOXLITE_TEST_IDLE ? MOST_FOR_A_READ : SECONDS * 900), `a readFile took ${slowest} ms`);
    assert.ok(all < (process.env.BOXLITE_TEST_IDLE ? 16_000 : 300_000), `all took ${all} ms`);
    await removeHome(home);
});
