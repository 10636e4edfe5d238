'use strict';
// Options as people write them, to the numbers of the C API. What is misspelt is refused by name.

const os = require('node:os');
const { BoxliteError } = require('./errors.js');

const CALL = ['signal', 'deadline', 'onProgress'];
const COMMAND = ['env', 'cwd', 'user', 'timeout', 'limits', 'mergeStderr', 'stdout', 'stderr', ...CALL];
const BOX = ['image', 'rootfs', 'cpus', 'memoryMib', 'diskSizeGb', 'diskCache', 'env', 'cwd', 'user', 'autoRemove', 'detach',
    'engine', 'labels', 'maxLifetime', 'idleTimeout', 'pidsMax', 'cpuMillis', 'maxOpenFiles', ...CALL];
const KEYS = {
    open: ['home', 'runtimeDir', 'engine', 'registries', 'dockerConfig', 'caFiles', 'spares', 'templateSpace', 'logFd', 'logLevel',
        'maxLayerBytes', 'maxImageEntries', 'signal', 'deadline'],
    registry: ['host', 'transport', 'search', 'skipVerify', 'username', 'password', 'token', 'mirrors'],
    create: ['name', ...BOX],
    prepare: BOX,
    call: CALL,
    list: ['labels', ...CALL],
    remove: ['force', ...CALL],
    prune: ['dryRun', ...CALL],
    wait: ['signal', 'deadline'],
    shutdown: ['grace', ...CALL],
    exec: ['input', 'maxOutput', 'drain', 'encoding', 'reject', ...COMMAND],
    spawn: ['stdin', 'tty', ...COMMAND],
    copy: ['overwrite', 'recursive', 'followSymlinks', 'includeParent', ...CALL],
    copyInTar: ['overwrite', ...CALL],
    copyOutTar: ['recursive', 'followSymlinks', 'includeParent', ...CALL],
    readFile: ['maxBytes', ...CALL],
    writeFile: ['mode', ...CALL],
    attach: ['stdin', 'stdout', 'stderr', 'tty', ...CALL],
};
const ENGINES = { auto: 0, krun: 1, qemu: 2 };
const TRANSPORTS = { https: 0, http: 1 };
const LEVELS = { error: 1, warn: 2, info: 3, debug: 4 };
const CACHES = { writeback: 0, unsafe: 1 };
const LOGS = { console: 0, shim: 1 };
const STDIN = { ignore: 0, pipe: 1, keep: 2 };
const OUTPUT = { retain: 0, pipe: 1, ignore: 2 };

function refuse(name, problem, hint) {
    return new BoxliteError(`${name}: ${problem}`, { code: 'BOXLITE_INVALID_ARGUMENT', hint, subject: name });
}

/** The options themselves, or {}; refuses what is none of `what`'s. */
function known(what, options) {
    if (options === undefined || options === null) return {};
    if (typeof options !== 'object') throw refuse('options', 'must be an object', 'see the types in index.d.ts');
    for (const key of Object.keys(options)) {
        if (!KEYS[what].includes(key)) {
            throw refuse(key, 'there is no such option here', `there are: ${KEYS[what].join(', ')}`);
        }
    }
    return options;
}

/** A word as its number; undefined stays so. */
function choice(name, choices, word) {
    if (word === undefined || word === null) return undefined;
    if (!Object.hasOwn(choices, word)) {
        throw refuse(name, `is ${JSON.stringify(word)}`, `use one of: ${Object.keys(choices).join(', ')}`);
    }
    return choices[word];
}

/** (args?, options?) of exec and spawn. */
function split(args, options) {
    return Array.isArray(args) || args === undefined || args === null ? [args ?? [], options] : [[], args];
}

function signalNumber(signal) {
    const number = typeof signal === 'string' ? os.constants.signals[signal] : signal;
    if (!Number.isInteger(number)) throw refuse('signal', `there is no ${String(signal)}`, "use a name such as 'SIGTERM', or a number");
    return number;
}

const names = new Map(Object.entries(os.constants.signals).map(([name, number]) => [number, name]));
// Two names for one number: the one that Node's own child processes have.
for (const name of ['SIGABRT', 'SIGIO']) names.set(os.constants.signals[name], name);

function signalName(number) {
    return number === 0 ? null : names.get(number) ?? `SIG${number}`;
}

/** How a command ended, from the addon's numbers. */
function ending({ code, signal, timedOut, oomKilled }) {
    return { exitCode: signal === 0 ? code : null, signal: signalName(signal), timedOut, oomKilled };
}

module.exports = { known, choice, split, refuse, ending, signalNumber, ENGINES, TRANSPORTS, LEVELS, CACHES, LOGS, STDIN,
    OUTPUT };
