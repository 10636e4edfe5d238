'use strict';
// What goes wrong, as errors: of the library, of a call that its signal ended, of a command that failed.

const native = require('./native.js');

class BoxliteError extends Error {
    constructor(message, { code, hint, subject, errno, exitCode } = {}, options = undefined) {
        super(message, options);
        this.name = 'BoxliteError';
        this.code = code;
        this.hint = hint ?? '';
        this.subject = subject ?? null;
        if (errno !== undefined) this.errno = errno;
        if (exitCode !== undefined) this.exitCode = exitCode;
    }
}

native.setErrorClass(BoxliteError);

/** A command that ended otherwise than with code 0; all of its result is in the error. */
class ExitError extends Error {
    constructor(program, result) {
        const how = result.timedOut
            ? 'was killed when its time was up'
            : result.signal !== null
                ? `died of ${result.signal}${result.oomKilled ? ' for want of memory' : ''}`
                : `exited with code ${result.exitCode}`;
        const said = String(result.stderr ?? '').trimEnd().slice(-2000);
        super(`${program} ${how}${said === '' ? '' : `\n${said}`}`);
        this.name = 'ExitError';
        Object.assign(this, result);
    }
}

/** The error of a call whose AbortSignal fired. */
function aborted(signal, error) {
    const made = new BoxliteError(
        error?.message ?? 'the call was not begun: its signal is aborted',
        { code: 'BOXLITE_CANCELLED', hint: "nothing is wrong: the call's signal was aborted", subject: error?.subject },
        { cause: signal.reason },
    );
    made.name = 'AbortError';
    if (error?.result !== undefined) made.result = error.result;
    return made;
}

/** The error of an output stream that ended before its process's output did. */
function cut(received, cause, state) {
    let why = '';
    if (state?.takenOver) why = ': somebody else has taken the stream over';
    else if (state?.closed && state.dropped > 0) why = ': the box has given up output that nobody had taken';
    return new BoxliteError(
        `output cut off after ${received} bytes${why}`,
        { code: 'BOXLITE_EXECUTION', hint: 'somebody else took the stream over, or the box ended; attach to take up what is left' },
        { cause },
    );
}

module.exports = { BoxliteError, ExitError, aborted, cut };
