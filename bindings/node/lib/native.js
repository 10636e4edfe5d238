'use strict';
// The addon, compiled by build.sh.

const path = require('node:path');

const file = path.join(__dirname, '..', 'build', 'boxlite.node');
try {
    module.exports = require(file);
} catch (error) {
    error.message = `boxlite's addon can't be loaded; \`npm run build\` in ${path.dirname(__dirname)} makes it: ${error.message}`;
    throw error;
}
