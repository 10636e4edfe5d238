// The binding reaches all of the C API, but for what unreached.txt explains.

import { execFile } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const here = fileURLToPath(new URL('..', import.meta.url));

test('every function of the library is called, or it is said why not', async () => {
    const addon = path.join(here, 'addon');
    const sources = fs.readdirSync(addon).map((file) => path.join(addon, file));
    await promisify(execFile)(path.join(here, '../check-symbols.sh'), ['node', ...sources]);
});
