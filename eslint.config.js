import js from '@eslint/js';
import n from 'eslint-plugin-n';
import tseslint from 'typescript-eslint';

const pure = ['src/domain/**/*.ts', 'src/policy/**/*.ts', 'src/command/**/*.ts'];

export default tseslint.config(
  { ignores: ['node_modules/', 'coverage/', 'test/fixtures/', 'src/local/demo/project/'] },
  js.configs.recommended,
  {
    files: ['**/*.ts'],
    extends: [...tseslint.configs.strictTypeChecked],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    plugins: { n },
    rules: {
      // Ids, counts and durations in messages read better without String().
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true, allowBoolean: true }],
      // `void promise` is how a deliberately unawaited promise is marked.
      '@typescript-eslint/no-meaningless-void-operator': 'off',
      '@typescript-eslint/no-confusing-void-expression': ['error', { ignoreArrowShorthand: true }],
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', caughtErrorsIgnorePattern: '^_' }],
      '@typescript-eslint/consistent-type-definitions': ['error', 'interface'],
      // The environment enters through config/ only, so that nothing reads a setting that was not validated.
      'n/no-process-env': 'error',
    },
  },
  { files: ['src/config/**/*.ts', 'test/**/*.ts', 'src/local/**/*.ts'], rules: { 'n/no-process-env': 'off' } },
  {
    files: pure,
    rules: {
      'no-restricted-globals': ['error', 'fetch', 'process', 'setTimeout', 'setInterval', 'Date', 'performance'],
    },
  },
  {
    files: ['**/*.js', '**/*.mjs'],
    languageOptions: { globals: { process: 'readonly', console: 'readonly', URL: 'readonly' } },
  },
  // What a browser runs.
  {
    files: ['src/web/assets/**/*.js'],
    languageOptions: {
      globals: Object.fromEntries(
        [
          ...[
            'addEventListener',
            'document',
            'fetch',
            'history',
            'location',
            'performance',
            'setInterval',
            'setTimeout',
            'clearTimeout',
          ],
          ...['DOMParser', 'EventSource', 'FormData', 'HTMLDetailsElement', 'URLSearchParams'],
        ].map((name) => [name, 'readonly']),
      ),
    },
  },
);
