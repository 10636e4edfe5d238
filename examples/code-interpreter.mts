// The loop of an AI agent that computes: a model proposes code, the code runs in a box, and what it printed goes back to
// the model. The interpreter lives as long as the box: variables, imports and files of one step are there in the next.
//
// The model of this example is whoever writes to standard input: steps of Python, separated by empty lines.

import { createInterface } from 'node:readline/promises';
import { Runtime, type Box, type Child } from 'boxlite';

// Runs inside the box: one JSON line for each step, in and out.
const INTERPRETER = `
import contextlib, io, json, sys, traceback
state = {}
for line in sys.stdin:
    printed, failure = io.StringIO(), None
    with contextlib.redirect_stdout(printed):
        try:
            exec(json.loads(line), state)
        except BaseException:
            failure = traceback.format_exc(limit=0).strip()
    print(json.dumps({"printed": printed.getvalue(), "failure": failure}), flush=True)
`;

interface Outcome { printed: string; failure: string | null }

class Interpreter implements AsyncDisposable {
    private constructor(private readonly child: Child, private readonly answers: AsyncIterator<string>) {}

    static async start(box: Box): Promise<Interpreter> {
        const child = await box.spawn('python3', ['-c', INTERPRETER], { limits: { memoryBytes: 256 << 20, pids: 64 } });
        return new Interpreter(child, child.lines());
    }

    async run(code: string): Promise<Outcome> {
        this.child.stdin!.write(`${JSON.stringify(code)}\n`);
        const { value, done } = await this.answers.next();
        if (done) throw new Error('the interpreter ended');
        return JSON.parse(value) as Outcome;
    }

    async [Symbol.asyncDispose](): Promise<void> {
        await this.child[Symbol.asyncDispose]();
    }
}

async function* model(): AsyncGenerator<string, void, undefined> {
    let step: string[] = [];
    for await (const line of createInterface({ input: process.stdin })) {
        if (line !== '') step.push(line);
        else if (step.length > 0) yield step.splice(0).join('\n');
    }
    if (step.length > 0) yield step.join('\n');
}

await using runtime = await Runtime.open();
await using box = await runtime.create({ image: process.argv[2] ?? 'python:3-slim', autoRemove: true });
await using interpreter = await Interpreter.start(box);
for await (const step of model()) {
    const { printed, failure } = await interpreter.run(step);
    process.stdout.write(printed);
    if (failure !== null) console.log(`failed: ${failure}`);
}
