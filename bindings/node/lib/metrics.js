'use strict';
// The library's figures, as JavaScript names them: boxes_created_total is boxesCreatedTotal. New ones need nothing here.

function figures(named) {
    const camel = (name) => name.replace(/_([a-z0-9])/g, (_, letter) => letter.toUpperCase());
    return Object.fromEntries(Object.entries(named).map(([name, figure]) => [camel(name), figure]));
}

module.exports = { figures };
