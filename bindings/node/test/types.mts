// What the types allow and what they refuse; compiled, not run.

import boxliteDefault, { BoxliteError, ExitError, Runtime, type Box, type BoxEnd, type Child, type ExecResult, type Image } from 'boxlite';

export async function uses(): Promise<void> {
    await using runtime = await Runtime.open({ home: '/tmp/x', registries: [{ host: 'h:5000', transport: 'http' }] });
    await using box: Box = await runtime.create({ image: 'alpine', labels: { a: 'b' }, autoRemove: true });
    const text: ExecResult<string> = await box.exec('true');
    const bytes: ExecResult<Buffer> = await box.exec('cat', ['x'], { encoding: 'buffer', input: new Uint8Array(3) });
    const code: number | null = (await box.exec('false', { reject: false })).exitCode;
    await using child: Child = await box.spawn('sh', [Buffer.from('-c')], { tty: { rows: 3 }, signal: AbortSignal.timeout(9) });
    child.on('exit', (exitCode, signal) => exitCode ?? signal?.length);
    for await (const line of child) line.toUpperCase();
    child.stdin?.end();
    child.web.stdout?.getReader();
    await child.signal('SIGTERM');
    await box.copyIn('tree', Buffer.from('/tree'), { overwrite: false, signal: AbortSignal.timeout(9), deadline: 9 });
    await box.copyInTar(3, '/tree', { overwrite: false });
    await box.copyOutTar('/tree', 3, { followSymlinks: true });
    const file: Buffer = await box.readFile('/file', { maxBytes: 9 });
    await box.writeFile('/file', file, { mode: 0o600 });
    await runtime.prepare({ memoryMib: 512, deadline: 9 });
    const had: boolean = (await runtime.getOrCreate({ name: 'one', maxLifetime: 9, idleTimeout: 9, pidsMax: 9, cpuMillis: 9 })).created;
    const end: BoxEnd = await box.wait({ signal: AbortSignal.timeout(9), deadline: 9 });
    if (end.reason === 'owner-gone') (await box.openLog('console')).destroy();
    const figures: (number | undefined)[] = [(await box.metrics()).memoryBytes, (await runtime.metrics({ deadline: 9 })).boxesRunning];
    const pulled: Image = await runtime.images.pull('alpine', { onProgress: ({ layers }) => layers.length, deadline: 9 });
    for (const { kind, bytes: size } of (await runtime.images.prune({ dryRun: true })).items) kind.concat(size.toFixed());
    for (const info of await runtime.list({ labels: { a: null } })) info.createdAt.getTime();
    try {
        await box.start({ onProgress: ({ stage }) => stage.length });
    } catch (error) {
        if (error instanceof BoxliteError) error.code.startsWith('BOXLITE_');
        if (error instanceof ExitError) error.exitCode?.toFixed();
    }
    // @ts-expect-error: there is no such option
    await box.exec('true', { colour: 'red' });
    // @ts-expect-error: an archive that is written overwrites nothing
    await box.copyOutTar('/tree', 3, { overwrite: false });
    // @ts-expect-error: a word is a string or bytes
    await box.exec('echo', [1]);
    // @ts-expect-error: opened, not constructed
    new Runtime();
    // @ts-expect-error: bytes are no string
    const wrong: string = (await box.exec('true', [], { encoding: 'buffer' })).stdout;
    // @ts-expect-error: without a name there is nothing to be found
    await runtime.getOrCreate({ image: 'alpine' });
    // @ts-expect-error: of the runtime
    await box.images.list();
    void [text, bytes, code, wrong, had, figures, pulled, boxliteDefault.version];
}
