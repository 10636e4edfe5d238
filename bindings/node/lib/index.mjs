import boxlite from './index.js';

export const { Runtime, Box, Child, BoxliteError, ExitError, version, abiVersion } = boxlite;
export default boxlite;
