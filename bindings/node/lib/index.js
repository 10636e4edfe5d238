'use strict';

const native = require('./native.js');
const { BoxliteError, ExitError } = require('./errors.js');
const { Runtime } = require('./runtime.js');
const { Box } = require('./box.js');
const { Child } = require('./child.js');

const { version, abi } = native.versions();

module.exports = { Runtime, Box, Child, BoxliteError, ExitError, version, abiVersion: abi };
