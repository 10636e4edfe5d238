// The binding reaches all of the C API, but for what unreached.txt explains.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import { test } from 'node:test';

const read = (file) => fs.readFileSync(new URL(file, import.meta.url), 'utf8');
const first = (text) => text.split('\n').filter((line) => line !== '' && !line.startsWith('#')).map((line) => line.split(' ')[0]);

test('every function of the library is called, or it is said why not', () => {
    const addon = new URL('../addon/', import.meta.url);
    const source = fs.readdirSync(addon).map((file) => read(`../addon/${file}`)).join('\n');
    const called = new Set(source.match(/\bboxlite_\w+(?=\()/g));
    const exported = first(read('../../../include/boxlite.symbols'));
    assert.ok(exported.length > 100);
    assert.deepEqual(exported.filter((name) => !called.has(name)), first(read('../unreached.txt')));
});
