export * from './index.js';
import * as boxlite from './index.js';
export default boxlite;
