// What the documents show, as it stands.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { newHome, removeHome } from './support.mjs';

const here = fileURLToPath(new URL('..', import.meta.url));
const python = process.env.BOXLITE_TEST_PYTHON_IMAGE ?? `oci:${path.join(here, '../../target/test-images/debian')}`;

async function run(file, input) {
    const home = newHome();
    const running = promisify(execFile)(process.execPath, [file, python], { env: { ...process.env, BOXLITE_HOME: home } });
    running.child.stdin.end(input);
    const { stdout, stderr } = await running;
    assert.equal(stderr, '');
    await removeHome(home);
    return stdout;
}

describe('documents', { concurrency: 2 }, () => {
    test('the program in README.md', async () => {
        const [, program] = /```js\n(.*?)```/s.exec(fs.readFileSync(path.join(here, '../../README.md'), 'utf8'));
        // Beside the package, so that it is found by its name.
        const file = path.join(here, 'build/readme.mjs');
        fs.writeFileSync(file, program);
        assert.equal(await run(file), '42\nstep 1\nstep 2\nstep 3\nexit code 0\n');
    });

    test('examples/code-interpreter.mts keeps its state from step to step', async () => {
        const steps = ['import math', 'x = 6', '', 'print(x * 7)', '', '1 / 0', '', "open('/tmp/note', 'w').write('kept')", '',
            "print(open('/tmp/note').read(), math.floor(2.5), x)"];
        const said = await run(path.join(here, 'build/js/examples/code-interpreter.mjs'), steps.join('\n'));
        assert.match(said, /^42\nfailed: .*ZeroDivisionError: division by zero\nkept 2 6\n$/s);
    });
});
