// What a dashboard is, and what the options of each kind of panel are.
import { Dashboard } from '@grafana/schema/dist/types/raw/dashboard/x/types.gen';
import * as bargauge from '@grafana/schema/dist/types/raw/composable/bargauge/panelcfg/x/types.gen';
import * as stat from '@grafana/schema/dist/types/raw/composable/stat/panelcfg/x/types.gen';
import * as table from '@grafana/schema/dist/types/raw/composable/table/panelcfg/x/types.gen';
import * as timeseries from '@grafana/schema/dist/types/raw/composable/timeseries/panelcfg/x/types.gen';

export type Whole = Dashboard;
export type Options_bargauge = bargauge.Options;
export type Options_stat = stat.Options;
export type Options_table = table.Options;
export type Options_timeseries = timeseries.Options;
export type Custom_table = table.FieldConfig;
export type Custom_timeseries = timeseries.FieldConfig;
