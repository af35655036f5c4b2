/** GitHub's own types, generated from the same description, so that what the stand-in answers is checked by the compiler too. */
import type { components, operations } from '@octokit/openapi-types';
import type { OperationId } from './operations.ts';

export type Schemas = components['schemas'];

type Part<Id extends OperationId, Name extends string> = operations[Id] extends {
  parameters: Partial<Record<Name, infer Value>>;
}
  ? Value
  : unknown;

/** Ids are `number | bigint` in the generated types; JSON numbers here. */
type Plain<T> = { [Key in keyof T]: Exclude<T[Key], bigint> };

export type PathOf<Id extends OperationId> = Plain<Part<Id, 'path'>>;
export type QueryOf<Id extends OperationId> = NonNullable<Part<Id, 'query'>>;

interface JsonBody<Value> {
  content: { 'application/json': Value };
}

export type BodyOf<Id extends OperationId> = operations[Id] extends { requestBody: JsonBody<infer Value> }
  ? Value
  : operations[Id] extends { requestBody?: JsonBody<infer Value> }
    ? Value | undefined
    : undefined;
