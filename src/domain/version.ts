import product from '../../package.json' with { type: 'json' };

/** Of this product. */
export const VERSION = product.version;
