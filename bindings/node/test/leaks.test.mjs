// A program that runs commands all day does not grow. LEAK_ROUNDS asks for more rounds than a test has time for.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { newHome, removeHome } from './support.mjs';

const program = fileURLToPath(new URL('./programs/rounds.mjs', import.meta.url));
const MOST_GROWTH_KIB = 16 * 1024;

test('descriptors, threads and memory do not grow over many rounds', async (context) => {
    const home = newHome();
    const rounds = process.env.LEAK_ROUNDS ?? '100';
    const args = ['--expose-gc', program, home, process.env.LEAK_ROUNDS === undefined ? '60' : '200', rounds];
    const { before, after } = JSON.parse((await promisify(execFile)(process.execPath, args)).stdout);
    context.diagnostic(`${rounds} rounds: ${JSON.stringify({ before, after })}`);
    assert.ok(after.descriptors <= before.descriptors, JSON.stringify({ before, after }));
    assert.ok(after.threads <= before.threads, JSON.stringify({ before, after }));
    assert.ok(after.resident - before.resident <= MOST_GROWTH_KIB, JSON.stringify({ before, after }));
    await removeHome(home);
});
