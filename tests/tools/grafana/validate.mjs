// node validate.mjs FILE...: prints what Grafana's types have against each dashboard; 1 if anything.
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import Ajv from 'ajv';
import { createGenerator } from 'ts-json-schema-generator';

const here = path.dirname(fileURLToPath(import.meta.url));
const generator = createGenerator({
  path: path.join(here, 'dashboard.d.ts'),
  tsconfig: path.join(here, 'tsconfig.json'),
  skipTypeCheck: true,
});
const ajv = new Ajv({ strict: false, allErrors: true });
const known = {};
// One schema a type: in a common one those of the same name would be one.
const schema = (type) => (known[type] ??= ajv.compile(generator.createSchema(type)));

let faults = 0;
const check = (where, type, value) => {
  const validate = schema(type);
  if (validate(value)) return;
  for (const error of validate.errors) {
    faults += 1;
    console.log(`${where}${error.instancePath}: ${error.message} ${JSON.stringify(error.params)}`);
  }
};

for (const file of process.argv.slice(2)) {
  const dashboard = JSON.parse(fs.readFileSync(file));
  check(file, 'Whole', dashboard);
  for (const panel of dashboard.panels.filter((panel) => panel.type !== 'row')) {
    const where = `${file}: ${panel.title}: `;
    const kind = panel.type.replace('-', ''); // status-history
    check(`${where}options`, `Options_${kind}`, panel.options);
    const { custom } = panel.fieldConfig.defaults;
    if (custom) check(`${where}custom`, `Custom_${kind}`, custom);
  }
}
process.exit(faults ? 1 : 0);
