// A typed client of a service: what the requests and answers look like is generated from the service's own description, `/openapi.json`.
import createClient, { type Client as Paths } from "openapi-fetch";
import type { components, paths } from "./schema.js";

type Schemas = components["schemas"];
export type Hit = Schemas["Hit"];
export type Item = Schemas["Item"];
export type ItemBody = Schemas["ItemBody"];
export type SearchBody = Schemas["SearchBody"];
export type SearchAnswer = Schemas["SearchAnswer"];
export type LinesMade = Schemas["LinesMade"];
export type Info = Schemas["Info"];
export type SearchOptions = NonNullable<paths["/v1/search"]["post"]["parameters"]["query"]>;
export type ListOptions = NonNullable<paths["/v1/items"]["get"]["parameters"]["query"]>;
export type Choice = NonNullable<paths["/v1/items/count"]["get"]["parameters"]["query"]>;

/** What the service refused. */
export class ServiceError extends Error {
  constructor(
    /** The HTTP status. */
    readonly status: number,
    /** A word for programs, such as `id_taken`. */
    readonly code: string,
    message: string,
  ) {
    super(message);
    this.name = "ServiceError";
  }
}

export interface Options {
  /** A key, where the service asks for one. */
  key?: string;
  /** The collection; the one that is meant where none is named, if this is left out. */
  collection?: string;
  /** In place of the `fetch` of the platform. */
  fetch?: typeof globalThis.fetch;
}

/** Paths that are of a collection, not of the service as a whole. */
const OF_COLLECTION = /^\/v1\/(?!(collections|session)([/?]|$))/;

/** A service at a URL, or one of its collections. Ids above 2^53 - 1, which indexes that are built elsewhere may have, lose digits. */
export class Client {
  /** All paths of the service, typed: `client.paths.GET("/v1/info")`. */
  readonly paths: Paths<paths>;

  constructor(url: string, { key, collection, fetch = globalThis.fetch }: Options = {}) {
    const base = url.replace(/\/+$/, "");
    // A name in a path is encoded; `openapi-fetch` knows the paths without it.
    const named = (url: string) =>
      collection === undefined ? url : base + url.slice(base.length).replace(OF_COLLECTION, `/v1/collections/${encodeURIComponent(collection)}/`);
    this.paths = createClient<paths>({
      baseUrl: base,
      headers: key === undefined ? {} : { authorization: `Bearer ${key}` },
      // The address is complete when the request is made: one that is made from another request streams its body, which browsers refuse.
      Request: class extends Request {
        constructor(url: RequestInfo | URL, init?: RequestInit) {
          super(typeof url === "string" ? named(url) : url, init);
        }
      },
      fetch: (request) => fetch(request),
    });
  }

  /** What is served: bits, items, classes and limits. */
  async info(): Promise<Info> {
    return answer(await this.paths.GET("/v1/info"));
  }

  /** The nearest neighbours of a code, an item, a text, a vector, or a picture in base64. */
  async search(query: SearchBody, options: SearchOptions = {}): Promise<SearchAnswer> {
    return answer(await this.paths.POST("/v1/search", { params: { query: options }, body: query }));
  }

  /** The nearest neighbours of a picture. */
  async searchByPicture(picture: Blob, options: SearchOptions = {}): Promise<SearchAnswer> {
    const form = new FormData();
    form.set("image", picture);
    const body = form as unknown as SearchBody;
    return answer(await this.paths.POST("/v1/search", { params: { query: options }, body, bodySerializer: () => form }));
  }

  /** Adds an item. */
  async add(item: ItemBody, options: { upsert?: boolean } = {}): Promise<Item> {
    return answer(await this.paths.POST("/v1/items", { params: { query: options }, body: item }));
  }

  /** Adds many items in one change, and says what was wrong with those that were refused. */
  async addMany(items: Iterable<ItemBody>, options: { upsert?: boolean } = {}): Promise<LinesMade> {
    const lines = Array.from(items, (item) => JSON.stringify(item)).join("\n");
    const made = await this.paths.POST("/v1/items/batch", {
      params: { query: options },
      body: lines as never,
      bodySerializer: () => lines,
      headers: { "content-type": "application/x-ndjson" },
    });
    return answer(made) as LinesMade;
  }

  /** An item. */
  async item(id: number): Promise<Item> {
    return answer(await this.paths.GET("/v1/items/{id}", { params: { path: { id } } }));
  }

  /** All items by ascending id, or those that are chosen; read page by page. */
  async *items(options: ListOptions = {}): AsyncGenerator<Item> {
    let after = options.after;
    do {
      const query = after === undefined ? options : { ...options, after };
      const page = answer(await this.paths.GET("/v1/items", { params: { query } }));
      yield* page.items;
      after = page.next ?? undefined;
    } while (after !== undefined);
  }

  /** How many items there are, or how many are chosen. */
  async count(choice: Choice = {}): Promise<number> {
    return answer(await this.paths.GET("/v1/items/count", { params: { query: choice } })).count;
  }

  /** Deletes an item. */
  async delete(id: number): Promise<void> {
    answer(await this.paths.DELETE("/v1/items/{id}", { params: { path: { id } } }));
  }

  /** Deletes all items that are chosen, and says how many there were. */
  async deleteWhere(choice: Choice): Promise<number> {
    return answer(await this.paths.DELETE("/v1/items", { params: { query: choice } })).deleted;
  }

  /** The collections that the key may read. */
  async collections(): Promise<Schemas["Collection"][]> {
    return answer(await this.paths.GET("/v1/collections")).collections;
  }

  /** Makes a collection of codes of so many bits, or one like another. */
  async makeCollection(collection: string, like: { bits: number } | { like: string }): Promise<void> {
    answer(await this.paths.PUT("/v1/collections/{collection}", { params: { path: { collection } }, body: like }));
  }

  /** Removes a collection with all its items. */
  async removeCollection(collection: string): Promise<void> {
    answer(await this.paths.DELETE("/v1/collections/{collection}", { params: { path: { collection } } }));
  }
}

/** The answer of a request that succeeded. */
function answer<T>({ data, error, response }: { data?: T; error?: unknown; response: Response }): T {
  if (response.ok) return data as T;
  const { code = "no_json", message = `the service answered ${response.status} without saying why` } =
    (error as { error?: { code?: string; message?: string } } | undefined)?.error ?? {};
  throw new ServiceError(response.status, code, message);
}
